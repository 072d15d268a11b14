import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate with its key, as PEM texts and as files for peers that want files. */
export interface Certificate {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface Wanted {
  /** Organizational unit. */
  readonly unit?: string;
  /** Subject alternative names, as in `IP:127.0.0.1,DNS:localhost`; left out for a client. */
  readonly names?: string;
  readonly days?: number;
}

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

/** A certificate authority made with the openssl command line, in a folder of the test. */
export class Authority {
  readonly #folder: string;
  readonly #name: string;

  constructor(folder: string, name = 'Test CA') {
    this.#folder = folder;
    this.#name = name.replace(/\W/g, '-');
    openssl(folder, [
      ...`req -x509 ${NEW_KEY} -days 2 -keyout ${this.#name}.key -out ${this.#name}.pem -subj`.split(' '),
      `/CN=${name}`,
      ...'-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign'.split(' '),
    ]);
  }

  issue(name: string, { unit, names, days = 1 }: Wanted = {}): Certificate {
    const file = `${this.#name}-${name.replace(/[^\w.-]/g, '_')}`;
    const subject = unit === undefined ? `/CN=${name}` : `/OU=${unit}/CN=${name}`;
    openssl(this.#folder, [
      ...`req ${NEW_KEY} -keyout ${file}.key -out ${file}.csr -subj`.split(' '),
      subject,
    ]);
    const purpose = names === undefined ? 'clientAuth' : 'serverAuth,clientAuth';
    const extensions = [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      `extendedKeyUsage=${purpose}`,
      ...(names === undefined ? [] : [`subjectAltName=${names}`]),
    ];
    writeFileSync(join(this.#folder, `${file}.ext`), extensions.join('\n'));
    const signer = `-CA ${this.#name}.pem -CAkey ${this.#name}.key -CAcreateserial`;
    openssl(
      this.#folder,
      `x509 -req -in ${file}.csr ${signer} -days ${days} -extfile ${file}.ext -out ${file}.pem`.split(' '),
    );
    const at = (end: string) => join(this.#folder, end);
    const text = (end: string) => readFileSync(at(end), 'utf8');
    return {
      ca: text(`${this.#name}.pem`),
      cert: text(`${file}.pem`),
      key: text(`${file}.key`),
      caFile: at(`${this.#name}.pem`),
      certFile: at(`${file}.pem`),
      keyFile: at(`${file}.key`),
    };
  }
}

function openssl(folder: string, args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
}
