import { createHash } from 'node:crypto';
import { mkdirSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { errorText, SluiceError } from './core/errors.ts';

/**
 * Holds the data folder for this process. Two gateways on one outbox would send what the other acknowledged. The lock
 * is a name in the kernel (an abstract socket), so that it goes with the process, also by kill -9 or power cut.
 *
 * @throws SluiceError SETUP where another gateway has it, or where it cannot be made.
 */
export async function holdData(folder: string): Promise<AsyncDisposable> {
  const name = createHash('sha256').update(made(folder)).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await listening(server, `\0sluice-${name}`, folder);
  server.unref();
  return {
    [Symbol.asyncDispose]: async () => {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The folder without links: the same folder has one name. */
function made(folder: string): string {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    return realpathSync(folder);
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot make the data folder ${folder}: ${errorText(cause)}`, {
      cause,
      remedy: 'make it for the user that runs sluice, or give another gateway.data',
    });
  }
}

async function listening(server: Server, path: string, folder: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new SluiceError('SETUP', `another gateway runs on the data folder ${folder}`, {
              remedy: 'stop it, or give this one another gateway.data',
            })
          : cause,
      );
    });
    server.listen(path, resolve);
  });
}
