/** A document for nft. One command in a line, and each element in one of its own, for whoever compares two policies. */
export const written = (commands: readonly object[]): string =>
  `{"nftables":[\n${commands.map(lineOf).join(',\n')}\n]}\n`;

function lineOf(command: object): string {
  const lines: string[] = [];
  const withHoles = JSON.stringify(command, (key, value: unknown) => {
    if (key !== 'elem' || !Array.isArray(value)) return value;
    lines.push(...value.map((element) => JSON.stringify(element)));
    return [];
  });
  return lines.length === 0
    ? withHoles
    : withHoles.replace(/\[\]\}\}\}$/, () => `[\n  ${lines.join(',\n  ')}\n]}}}`);
}
