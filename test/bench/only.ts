/** Which works a run is asked for by `--only`: names or pieces of names, with commas between them. */

/** What was asked for does not exist. */
export class UnknownWork extends Error {}

/**
 * The names that contain one of the pieces of `only`; all without it.
 *
 * @throws UnknownWork when a piece is in no name: a run that measures nothing, or less than it was asked for, must not end well.
 */
export function chosen(names: readonly string[], only: string | undefined): readonly string[] {
  if (only === undefined) return names;
  const pieces = only.split(',').map((piece) => piece.trim());
  for (const piece of pieces)
    if (piece === '' || !names.some((name) => name.includes(piece)))
      throw new UnknownWork(`--only: no work has ${JSON.stringify(piece)} in its name; there are: ${names.join(', ')}`);
  return names.filter((name) => pieces.some((piece) => name.includes(piece)));
}
