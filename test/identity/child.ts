// A process that opens an identity, and dies by SIGKILL at the n-th call that changes the disk (0: never).
// Usage: child.ts FOLDER N OUT
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { systemClock } from '../../src/core/clock.ts';

const [folder = '', n = '0', out = ''] = process.argv.slice(2);
let left = Number(n);

function step(): void {
  left -= 1;
  if (left === 0) process.kill(process.pid, 'SIGKILL');
}

function dying<A extends readonly unknown[], R>(
  call: (...args: A) => Promise<R>,
): (...args: A) => Promise<R> {
  return async (...args) => {
    step();
    return call(...args);
  };
}

function dyingHandle(handle: FileHandle): FileHandle {
  const write = handle.writeFile.bind(handle);
  const append = handle.appendFile.bind(handle);
  handle.writeFile = async (data) => {
    if (typeof data !== 'string') throw new Error('the identity writes text');
    step();
    await write(data.slice(0, data.length / 2)); // torn in the middle
    step();
    await handle.truncate(0);
    await handle.write(data, 0);
  };
  handle.appendFile = async (data) => {
    if (typeof data !== 'string') throw new Error('the identity writes text');
    await append(data.slice(0, 20));
    step();
    await append(data.slice(20));
  };
  return handle;
}

const open = fs.open.bind(fs);
fs.open = async (...args) => dyingHandle(await open(...args));
fs.link = dying(fs.link.bind(fs));
fs.rename = dying(fs.rename.bind(fs));
fs.rm = dying(fs.rm.bind(fs));
fs.chmod = dying(fs.chmod.bind(fs));
syncBuiltinESMExports();

const { openIdentity } = await import('../../src/identity/identity.ts');
const { issueCredential } = await import('../../src/identity/credential.ts');
const options = { folder, gatewayId: 'plant7-line2', clock: systemClock };
const { ca } = await openIdentity({ ...options, addresses: ['127.0.0.1'] });
if (out !== '') await issueCredential({ ...options, name: 'platform', mayCommand: false, out });
process.stdout.write(ca);
