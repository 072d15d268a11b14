// Command line only: picks a command of cli/.
process.exitCode = 64;
