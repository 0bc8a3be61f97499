// Layout of a workflow: a column a distance from the sources, rows in the order of the file.

import type { LinkStatus, OperatorStatus } from "./types";

export interface Place {
  x: number;
  y: number;
}

export const NODE_WIDTH = 176;
export const NODE_HEIGHT = 92;
export const COLUMN_GAP = 132;
const ROW_GAP = 34;

export function operatorOf(end: string, names: Set<string>): string {
  if (names.has(end)) return end;
  const dot = end.lastIndexOf(".");
  return dot > 0 ? operatorOf(end.slice(0, dot), names) : end;
}

function mean(values: number[]): number {
  return values.length ? values.reduce((sum, v) => sum + v, 0) / values.length : 0;
}

export function layout(operators: OperatorStatus[], links: LinkStatus[]): Map<string, Place> {
  const names = new Set(operators.map((o) => o.name));
  const column = new Map(operators.map((o) => [o.name, 0]));
  for (let round = 0; round < operators.length; round++) {
    let changed = false;
    for (const link of links) {
      const [from, to] = [operatorOf(link.source, names), operatorOf(link.target, names)];
      const next = (column.get(from) ?? 0) + 1;
      if (from !== to && column.has(to) && next > column.get(to)! && next < operators.length) {
        column.set(to, next);
        changed = true;
      }
    }
    if (!changed) break;
  }
  const columns = new Map<number, string[]>();
  for (const { name } of operators) columns.set(column.get(name)!, [...(columns.get(column.get(name)!) ?? []), name]);
  const places = new Map<string, Place>();
  for (const [at, members] of [...columns].sort(([a], [b]) => a - b)) {
    const pull = new Map(members.map((name) => [name, mean(links
      .filter((link) => operatorOf(link.target, names) === name)
      .map((link) => places.get(operatorOf(link.source, names))?.y ?? 0))]));
    members.sort((a, b) => pull.get(a)! - pull.get(b)!); // beside what feeds it, so that few lines cross
    members.forEach((name, k) => places.set(name, {
      x: at * (NODE_WIDTH + COLUMN_GAP),
      y: (k - (members.length - 1) / 2) * (NODE_HEIGHT + ROW_GAP),
    }));
  }
  return places;
}
