import { z } from 'zod';
import { gatewayFile } from './schema.ts';

/** JSON Schema (draft 2020-12) of gateway.yaml for editors, from the source that `parseConfig` checks with. */
export function gatewayJsonSchema(): string {
  const schema = z.toJSONSchema(gatewayFile, { target: 'draft-2020-12', io: 'input' });
  return `${shortListsInOneLine(JSON.stringify({ title: 'gateway.yaml', ...schema }, undefined, 2))}\n`;
}

/** Width of the repository's formatter, so that the generated file needs no second hand. */
const LINE_WIDTH = 110;

function shortListsInOneLine(json: string): string {
  return json.replaceAll(/\[\s+([^[\]{}]+?)\s+\]/g, (list: string, items: string, offset: number) => {
    const line = `[${items.replaceAll(/,\s+/g, ', ')}]`;
    const column = offset - json.lastIndexOf('\n', offset) - 1;
    return column + line.length + 1 <= LINE_WIDTH ? line : list;
  });
}
