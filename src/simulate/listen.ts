import { SluiceError, errorText } from '../core/errors.ts';

/** Why a simulated device cannot have its address, and what to do. */
export function cannotListen(
  devices: readonly string[],
  protocol: string,
  host: string,
  port: number,
  error: unknown,
): SluiceError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const where = `${protocol}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const whose = devices.join(', ');
  switch (code) {
    case 'EADDRINUSE':
      return new SluiceError('SETUP', `${where} of ${whose} is in use by another program`, {
        cause: error,
        remedy:
          'stop that program (another simulated plant?), or give the device another port in gateway.yaml',
      });
    case 'EACCES':
      return new SluiceError('SETUP', `${where} of ${whose} needs more rights than this user has`, {
        cause: error,
        remedy: 'give the device a port of 1024 or above in gateway.yaml',
      });
    case 'EADDRNOTAVAIL':
      return new SluiceError('SETUP', `${host} of ${whose} is no address of this machine`, {
        cause: error,
        remedy:
          'simulate devices on loopback addresses, 127.0.0.1 to 127.255.255.254, or add the address to an interface',
      });
    default:
      return new SluiceError('SETUP', `${where} of ${whose} cannot be served: ${errorText(error)}`, {
        cause: error,
        remedy: 'check the address of the device in gateway.yaml',
      });
  }
}
