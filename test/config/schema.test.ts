import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { parse } from 'yaml';
import { gatewayJsonSchema } from '../../src/config/json-schema.ts';
import { parseConfig } from '../../src/config/parse.ts';

/** The interpreter that Debian's python3-jsonschema belongs to. */
const PYTHON = '/usr/bin/python3';

/** Which of the documents a validator accepts that nobody here wrote. Checks the schema against its own schema too. */
const VALIDATOR = `
import json, sys
from jsonschema import Draft202012Validator
schema, documents = json.load(sys.stdin)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for document in documents:
    print(" | ".join(repr(error.json_path + ": " + error.message) for error in validator.iter_errors(document)))
`;

function missingValidator(): string | false {
  if (spawnSync(PYTHON, ['-c', 'import jsonschema']).status === 0) return false;
  const says = 'jsonschema is missing; install it with: apt-get install python3-jsonschema';
  if (process.env['CI'] === 'true') throw new Error(says);
  return says;
}

function errorsOf(documents: readonly unknown[]): string[] {
  const input = JSON.stringify([JSON.parse(gatewayJsonSchema()), documents]);
  const { status, stdout, stderr } = spawnSync(PYTHON, ['-c', VALIDATOR], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.split('\n').slice(0, documents.length);
}

const shipped = readFileSync('gateway.yaml', 'utf8');

t.test('gateway.schema.json is up to date: npm run schema writes it', async (t) => {
  t.equal(readFileSync('gateway.schema.json', 'utf8'), gatewayJsonSchema());
});

t.test('the shipped gateway.yaml points an editor at the schema', async (t) => {
  t.match(shipped, /^# yaml-language-server: \$schema=\.\/gateway\.schema\.json\n/);
});

/** Every key below every mapping of the schema, with what it says about it. */
function* keysOf(part: unknown): Generator<readonly [string, unknown]> {
  if (typeof part !== 'object' || part === null) return;
  if ('properties' in part && typeof part.properties === 'object' && part.properties !== null) {
    yield* Object.entries(part.properties);
  }
  for (const inner of Object.values(part)) yield* keysOf(inner);
}

t.test('every key is explained to an editor and in the documentation', async (t) => {
  const documentation = readFileSync('docs/configuration.md', 'utf8');
  const keys = [...keysOf(JSON.parse(gatewayJsonSchema()))];

  t.ok(keys.length > 60);
  for (const [key, value] of keys) {
    t.match(value, { description: /\w/ }, `${key} has a description`);
    t.match(
      documentation,
      new RegExp(`\x60(?:[a-z]+\\.)?${key}\x60|^## ${key}$`, 'm'),
      `${key} is documented`,
    );
  }
});

t.test(
  'another validator accepts the shipped file and refuses wrong ones',
  { skip: missingValidator() },
  async (t) => {
    const mistakes: readonly (readonly [string, string])[] = [
      ['gateway:', 'gatway:'],
      ['id: plant7-line2', 'id: Plant 7'],
      ['listen: "127.0.0.1:8883"', 'lisen: "127.0.0.1:8883"'],
      ['{ event: "*" }', '{ event: "*", telemetry: "*/*" }'],
      ['{ event: "*" }', '{}'],
      ['vlan: 10', 'vlan: 5000'],
      ['purdue: 3.5', 'purdue: 2.5'],
      ['allow: [modbus-tcp]', 'allow: [modbus-tpc]'],
      ['because: "HMI reads and sets the presses"', 'because: ""'],
      ['protocol: modbus', 'protocol: opc-ua'],
      ['every: 500ms', 'every: 500'],
      ['in-flight: 1', 'in-flight: 17'],
      ['deadband: 0.2', 'deadband: -0.2'],
      ['deadband: 0.2', 'dead-band: 0.2'],
      ['span: [0, 300]', 'span: [0]'],
      ['writable: true', 'writable: perhaps'],
      ['writable: true', 'writable: true, history: no'],
      ['observe: true', 'observ: true'],
      ['format: json', 'format: xml'],
      ['class: boiler,', 'klass: boiler,'],
      ['input:0:int16', 'inputs:0:int16'],
      ['coap://127.20.30.31', 'http://127.20.30.31'],
      ['mac: "02:00:00:00:20:11"', 'mac: "02:00"'],
      ['disk: 2GB', 'disk: 2 GB'],
      ['mode: observe', 'mode: watch'],
      ['subnet: 127.20.10.0/24', 'subnet: [127.20.10.0]'],
      ['subnet: 127.20.10.0/24', 'subnet: 127.20.10.0/24, within: perhaps'],
      ['only: { to: [meter-main] }', 'only: { too: [meter-main] }'],
      ['from: [192.0.2.0/24]', 'from: []'],
    ];
    const wrong = mistakes.map(([good, bad]) => shipped.replace(good, bad));
    const [accepted, ...refused] = errorsOf([parse(shipped), ...wrong.map((text): unknown => parse(text))]);

    t.equal(accepted, '', 'the shipped file');
    t.equal(refused.length, mistakes.length);
    for (const [i, [, bad]] of mistakes.entries()) {
      t.ok((refused[i] ?? '') !== '', `the schema refuses ${bad}`);
      t.ok('problems' in parseConfig(wrong[i] ?? '', '/gateway.yaml'), `so does the gateway`);
    }
  },
);
