// Draw: one canvas with the picture, its scale bar and what is laid over it.

import { paint } from "./colour";
import { short } from "./text";
import type { Domain, Frame, Pair, Points } from "./types";
import { toCanvas, type Size, type Viewport } from "./viewport";

export interface Scene {
  frame: Frame;
  domain: Domain;
  view: Viewport;
  map: string[];
  hue: string[];
  points: Points | null;
}

const INK = "#e6ebf0";

export class Painter {
  private readonly tile = document.createElement("canvas");
  private painted: { frame: Frame; map: string[] } | null = null;

  constructor(private readonly canvas: HTMLCanvasElement) {}

  draw(scene: Scene): void {
    const context = this.canvas.getContext("2d");
    if (!context) return;
    this.refresh(scene);
    const size: Size = this.canvas;
    const { region, step } = scene.domain;
    const [top, left] = toCanvas(scene.view, size, [region[0], region[1]]);
    const pixel = scene.view.scale * step;
    context.clearRect(0, 0, size.width, size.height);
    context.imageSmoothingEnabled = pixel < 1;
    context.drawImage(this.tile, left, top, this.tile.width * pixel, this.tile.height * pixel);
    this.edge(context, scene, size);
    if (scene.points) overlay(context, scene, scene.points, size);
    if (scene.domain.pixel_um) scaleBar(context, scene, size);
  }

  private refresh({ frame, map, hue }: Scene): void {
    if (this.painted?.frame === frame && this.painted.map === map) return;
    if (this.tile.width !== frame.width || this.tile.height !== frame.height) {
      this.tile.width = frame.width;
      this.tile.height = frame.height;
    }
    const colours = paint(frame.pixels, frame.height * frame.width, frame.planes, map, hue);
    const bytes = new Uint8ClampedArray(colours.buffer as ArrayBuffer);
    this.tile.getContext("2d")?.putImageData(new ImageData(bytes, frame.width, frame.height), 0, 0);
    this.painted = { frame, map };
  }

  private edge(context: CanvasRenderingContext2D, scene: Scene, size: Size): void {
    // squares at the far edge of a reduced picture reach over the array: cover what is outside
    const [bottom, right] = toCanvas(scene.view, size, scene.domain.shape);
    context.clearRect(0, bottom, size.width, size.height);
    context.clearRect(right, 0, size.width, size.height);
  }
}

function overlay(context: CanvasRenderingContext2D, scene: Scene, points: Points, size: Size): void {
  const { pixel_um, origin_um } = scene.domain;
  if (!pixel_um || !origin_um) return;
  const place = (at: Pair): Pair =>
    toCanvas(scene.view, size, [(at[0] - origin_um[0]) / pixel_um[0] + 0.5, (at[1] - origin_um[1]) / pixel_um[1] + 0.5]);
  const ratio = window.devicePixelRatio || 1;
  if (points.span_um) {
    const [top, left] = place([points.span_um[0], points.span_um[1]]);
    const [bottom, right] = place([points.span_um[2], points.span_um[3]]);
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.strokeStyle = "rgba(230, 235, 240, 0.55)";
    context.lineWidth = ratio;
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
  }
  context.fillStyle = "rgba(255, 255, 255, 0.62)";
  const dot = Math.max(1, 1.1 * ratio);
  for (const at of points.positions_um) {
    const [y, x] = place(at);
    context.fillRect(x - dot / 2, y - dot / 2, dot, dot);
  }
  if (points.beam_um) {
    const [y, x] = place(points.beam_um);
    context.strokeStyle = "#ff9e5e";
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.arc(x, y, 6 * ratio, 0, 2 * Math.PI);
    context.stroke();
  }
}

function scaleBar(context: CanvasRenderingContext2D, scene: Scene, size: Size): void {
  const ratio = window.devicePixelRatio || 1;
  const perUm = scene.view.scale / (scene.domain.pixel_um?.[1] ?? 1);
  const length = niceLength(Math.min(size.width * 0.3, scene.domain.shape[1] * scene.view.scale * 0.5) / perUm);
  const name = length >= 1 ? `${short(length)} µm` : `${short(length * 1000)} nm`;
  const width = length * perUm;
  const [x, y] = [12 * ratio, size.height - 12 * ratio];
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  const box = Math.max(width, context.measureText(name).width) + 12 * ratio;
  context.fillStyle = "rgba(10, 13, 17, 0.66)";
  context.fillRect(x - 6 * ratio, y - 20 * ratio, box, 26 * ratio);
  context.fillStyle = INK;
  context.fillRect(x, y - 2 * ratio, width, 3 * ratio);
  context.fillText(name, x, y - 6 * ratio);
}

export function niceLength(most: number): number {
  const decade = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((k) => k * decade).find((k) => k <= most) ?? decade;
}
