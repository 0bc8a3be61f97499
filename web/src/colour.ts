// Colour maps: 256 entries, packed as the bytes of a canvas; entry 0 is "no value".

export const NO_VALUE: readonly [number, number, number] = [22, 27, 34];

function packed(r: number, g: number, b: number): number {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // canvas pixels are little-endian RGBA
}

export function rgbTable(anchors: string[]): [number, number, number][] {
  const points = anchors.map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
  const table: [number, number, number][] = [[...NO_VALUE]];
  for (let i = 0; i < 255; i++) {
    const place = (i / 254) * (points.length - 1);
    const k = Math.min(Math.floor(place), points.length - 2);
    const a = points[k] ?? [0, 0, 0];
    const b = points[k + 1] ?? a;
    const mix = (c: number) => Math.round((a[c] ?? 0) + (place - k) * ((b[c] ?? 0) - (a[c] ?? 0)));
    table.push([mix(0), mix(1), mix(2)]);
  }
  return table;
}

export function paint(pixels: Uint8Array, size: number, planes: number, map: string[], hue: string[]): Uint32Array {
  const out = new Uint32Array(size);
  if (planes === 1) {
    const table = Uint32Array.from(rgbTable(map), ([r, g, b]) => packed(r, g, b));
    for (let i = 0; i < size; i++) out[i] = table[pixels[i]!]!;
    return out;
  }
  const table = rgbTable(hue);
  const empty = packed(...NO_VALUE);
  for (let i = 0; i < size; i++) {
    const amplitude = pixels[i]!;
    if (amplitude === 0) {
      out[i] = empty;
      continue;
    }
    const bright = (amplitude - 1) / 254;
    const [r, g, b] = table[pixels[size + i]!]!;
    out[i] = packed(r * bright, g * bright, b * bright);
  }
  return out;
}

export function gradient(anchors: string[]): string {
  return `linear-gradient(to top, ${anchors.map((a) => `#${a}`).join(", ")})`;
}
