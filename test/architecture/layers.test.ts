import { globSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import t from 'tap';

const PURE = ['config', 'telemetry', 'segmentation', 'access', 'commands', 'detection', 'health'];
const ROOF = ['cli'];

interface Import {
  readonly file: string;
  readonly folder: string;
  readonly path: string;
  readonly to: string;
}

/** Every relative import of every file below src/<folder>/, also those that load lazily. */
function imports(): Import[] {
  const found: Import[] = [];
  for (const file of globSync('src/*/**/*.ts')) {
    const folder = file.split(sep)[1] ?? '';
    const text = readFileSync(file, 'utf8');
    for (const [, path = ''] of text.matchAll(/(?:from|import\(|new URL\()\s*'(\.[^']+)'/g)) {
      const parts = join(dirname(file), path).split(sep);
      found.push({ file, folder, path, to: parts.length > 2 ? (parts[1] ?? '') : 'main' });
    }
  }
  return found;
}

t.test('edges never import each other, pure folders know no edge, core knows nobody', async (t) => {
  const all = imports();
  t.ok(all.length > 20, 'the test sees the house');
  for (const { file, folder, path, to } of all) {
    if (ROOF.includes(folder)) continue;
    const allowed = folder === 'core' ? ['core'] : [folder, 'core', ...PURE];
    t.ok(allowed.includes(to), `${file} imports ${path}: ${folder} may import ${allowed.join(', ')}`);
  }
});

t.test('pure folders and core touch no file, socket or process', async (t) => {
  const outside = /from 'node:(?:fs|fs\/promises|net|tls|dgram|child_process|worker_threads|http|https)'/;
  for (const folder of [...PURE, 'core']) {
    for (const file of globSync(`src/${folder}/**/*.ts`)) {
      t.notMatch(readFileSync(file, 'utf8'), outside, `${file} is pure`);
    }
  }
});

// Types are no import: they are gone when the program runs.
t.test('a library that touches the outside has one importer', async (t) => {
  const owners: Record<string, RegExp> = {
    'better-sqlite3': /^src\/store\/open\.ts$/,
    mqtt: /^src\/mqtt\/client\.ts$/,
    aedes: /^src\/mqtt\/broker\.ts$/,
    'modbus-serial': /^src\/simulate\//,
    coap: /^src\/simulate\//,
    cbor2: /^src\/(drivers\/coap|simulate)\//,
    // The other file is read as strictly as gateway.yaml: whoever writes it decides what is called a change.
    zod: /^src\/(config\/|segmentation\/policy-file\.ts$)/,
    yaml: /^src\/config\//,
    '@peculiar/x509': /^src\/identity\//,
    'hyparquet-writer': /^src\/export\/parquet\.ts$/,
    tar: /^src\/backup\/archive\.ts$/,
  };
  for (const file of globSync('src/**/*.ts')) {
    for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(
      /^import (?!type )[^;]*?from '([^.'][^']*)'/gm,
    )) {
      const owner = owners[name];
      if (owner !== undefined) t.match(file, owner, `${file} imports ${name}`);
    }
  }
});
