// Layout of a workflow: a column a distance from the sources; links over several columns get a lane between the boxes.

import type { LinkStatus, OperatorStatus } from "./types";

export interface Place {
  x: number;
  y: number; // the middle of its left side
}

export interface Layout {
  places: Map<string, Place>;
  lanes: Map<number, Place[]>; // by number of the link: where it passes the columns between its ends
}

export const NODE_WIDTH = 176;
export const NODE_HEIGHT = 92;
const COLUMN_GAP = 132;
const LANE_HEIGHT = 40;
const ROW_GAP = 26;

interface Member {
  key: string; // an operator, or the number of a link
  height: number;
  pull: number;
}

export function operatorOf(end: string, names: Set<string>): string {
  if (names.has(end)) return end;
  const dot = end.lastIndexOf(".");
  return dot > 0 ? operatorOf(end.slice(0, dot), names) : end;
}

function columnsOf(names: Set<string>, ends: [string, string][]): Map<string, number> {
  const column = new Map([...names].map((name) => [name, 0]));
  for (let round = 0; round < names.size; round++) {
    let changed = false;
    for (const [from, to] of ends) {
      const next = (column.get(from) ?? 0) + 1;
      if (from !== to && column.has(to) && next > column.get(to)! && next < names.size) {
        column.set(to, next);
        changed = true;
      }
    }
    if (!changed) break;
  }
  return column;
}

function mean(values: number[]): number {
  return values.length ? values.reduce((sum, v) => sum + v, 0) / values.length : 0;
}

export function layout(operators: OperatorStatus[], links: LinkStatus[]): Layout {
  const names = new Set(operators.map((o) => o.name));
  const ends = links.map((link): [string, string] => [operatorOf(link.source, names), operatorOf(link.target, names)]);
  const column = columnsOf(names, ends);
  const places = new Map<string, Place>();
  const lanes = new Map<number, Place[]>();
  const height = (k: number) => lanes.get(k)?.at(-1)?.y ?? places.get(ends[k]![0])?.y ?? 0;
  for (let at = 0; at <= Math.max(0, ...column.values()); at++) {
    const members: Member[] = [...names].filter((name) => column.get(name) === at).map((name) => ({
      key: name, height: NODE_HEIGHT, pull: mean(ends.flatMap(([, to], k) => (to === name ? [height(k)] : []))),
    }));
    const passing = ends.flatMap(([from, to], k) => (column.get(from)! < at && column.get(to)! > at ? [k] : []));
    for (const k of passing) members.push({ key: String(k), height: LANE_HEIGHT, pull: height(k) });
    members.sort((a, b) => a.pull - b.pull); // beside what feeds it, so that few lines cross
    let y = -(members.reduce((sum, m) => sum + m.height, 0) + ROW_GAP * (members.length - 1)) / 2;
    members.forEach((member) => {
      const place = { x: at * (NODE_WIDTH + COLUMN_GAP), y: y + member.height / 2 };
      if (names.has(member.key)) places.set(member.key, place);
      else lanes.set(Number(member.key), [...(lanes.get(Number(member.key)) ?? []), place]);
      y += member.height + ROW_GAP;
    });
  }
  return { places, lanes };
}

/** The box around operators and lanes. */
export function boundsOf(places: Place[], lanes: Place[]): { x: number; y: number; width: number; height: number } {
  const all = [...places.map((p) => ({ ...p, half: NODE_HEIGHT / 2 })), ...lanes.map((p) => ({ ...p, half: LANE_HEIGHT / 2 }))];
  const x = Math.min(0, ...all.map((p) => p.x));
  const y = Math.min(0, ...all.map((p) => p.y - p.half));
  return { x, y, width: Math.max(NODE_WIDTH, ...all.map((p) => p.x + NODE_WIDTH)) - x,
    height: Math.max(NODE_HEIGHT / 2, ...all.map((p) => p.y + p.half)) - y };
}

/** The line of a link: S-curves from column to column, straight through its lanes. */
export function route(from: Place, to: Place, lanes: Place[]): string {
  let path = `M ${from.x} ${from.y}`;
  let at = from;
  for (const next of [...lanes, to]) {
    const middle = (at.x + next.x) / 2;
    path += ` C ${middle} ${at.y} ${middle} ${next.y} ${next.x} ${next.y}`;
    at = next === to ? to : { x: next.x + NODE_WIDTH, y: next.y };
    if (next !== to) path += ` L ${at.x} ${at.y}`;
  }
  return path;
}
