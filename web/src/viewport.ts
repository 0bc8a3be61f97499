// Viewport: which part of an array a canvas shows; `scale` is canvas pixels per array pixel, (y, x) the array centre.

import type { Pair, Region } from "./types";

export interface Viewport {
  y: number;
  x: number;
  scale: number;
}

export interface Size {
  height: number;
  width: number;
}

export const LARGEST_SCALE = 64;

export function fit(shape: Pair, canvas: Size): Viewport {
  return { y: shape[0] / 2, x: shape[1] / 2, scale: Math.min(canvas.height / shape[0], canvas.width / shape[1]) };
}

export function toArray(view: Viewport, canvas: Size, at: Pair): Pair {
  return [view.y + (at[0] - canvas.height / 2) / view.scale, view.x + (at[1] - canvas.width / 2) / view.scale];
}

export function toCanvas(view: Viewport, canvas: Size, at: Pair): Pair {
  return [(at[0] - view.y) * view.scale + canvas.height / 2, (at[1] - view.x) * view.scale + canvas.width / 2];
}

export function zoomed(view: Viewport, shape: Pair, canvas: Size, at: Pair, factor: number): Viewport {
  const whole = fit(shape, canvas);
  const scale = Math.min(Math.max(view.scale * factor, whole.scale), Math.max(LARGEST_SCALE, whole.scale));
  const [y, x] = toArray(view, canvas, at);
  const moved = { y: y - (at[0] - canvas.height / 2) / scale, x: x - (at[1] - canvas.width / 2) / scale, scale };
  return inside(moved, shape, canvas);
}

export function inside(view: Viewport, shape: Pair, canvas: Size): Viewport {
  const half: Pair = [canvas.height / 2 / view.scale, canvas.width / 2 / view.scale];
  const hold = (at: number, length: number, reach: number) =>
    2 * reach >= length ? length / 2 : Math.min(Math.max(at, reach), length - reach);
  return { ...view, y: hold(view.y, shape[0], half[0]), x: hold(view.x, shape[1], half[1]) };
}

export function visible(view: Viewport, shape: Pair, canvas: Size): Region | null {
  const [y0, x0] = toArray(view, canvas, [0, 0]);
  const [y1, x1] = toArray(view, canvas, [canvas.height, canvas.width]);
  const region: Region = [
    Math.max(0, Math.floor(y0)), Math.max(0, Math.floor(x0)),
    Math.min(shape[0], Math.ceil(y1)), Math.min(shape[1], Math.ceil(x1)),
  ];
  const all = region[0] === 0 && region[1] === 0 && region[2] === shape[0] && region[3] === shape[1];
  return all ? null : region;
}
