/** What is wrong with a text that stands for something: what was found and how to fix it. */
export interface Complaint {
  readonly found: string;
  readonly fix: string;
}

export function complaint(found: string, fix: string): Complaint {
  return { found, fix };
}
