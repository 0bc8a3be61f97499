import { age } from "./text";
import type { Histogram } from "./types";

const [BAR_PX, HEIGHT_PX] = [2, 14];
const SHORTEST_MS = 0.064;
const OCTAVES = 16; // 64 us to 2 s; what is beyond stands at the ends

/** A histogram of times as small bars, one for each doubling; the same place is the same time on every link. */
export function Spark({ histogram, name }: { histogram: Histogram; name: string }) {
  const most = Math.max(...histogram.blocks, 1);
  const told = histogram.blocks.flatMap((n, k) => (n ? [`${n} below ${age(histogram.edges_ms[k]!)}`] : []));
  return (
    <svg className="spark" width={BAR_PX * OCTAVES} height={HEIGHT_PX} role="img" data-testid={name}
      aria-label={told.length ? `blocks by age: ${told.join(", ")}` : "no block yet"}>
      <title>{told.join(", ")}</title>
      {histogram.blocks.map((n, k) => {
        const octave = Math.min(Math.max(Math.round(Math.log2(histogram.edges_ms[k]! / SHORTEST_MS)), 0), OCTAVES - 1);
        const height = n ? Math.max(1, (HEIGHT_PX * Math.log1p(n)) / Math.log1p(most)) : 0;
        return <rect key={k} x={BAR_PX * octave} y={HEIGHT_PX - height} width={BAR_PX - 0.5} height={height} />;
      })}
    </svg>
  );
}
