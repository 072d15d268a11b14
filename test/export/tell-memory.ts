// Loaded before a command: says at its end, in the file MEMORY_FILE, what it took at most, in MB.
import { writeFileSync } from 'node:fs';

process.on('exit', () => {
  const file = process.env['MEMORY_FILE'];
  if (file !== undefined) writeFileSync(file, String(process.resourceUsage().maxRSS / 1_024));
});
