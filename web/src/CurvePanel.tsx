import { useLayoutEffect, useMemo, useRef, useState } from "react";
import { usePage } from "./store";
import { short } from "./text";

type Point = [number, number];

const MARGIN = { top: 8, right: 14, bottom: 28, left: 52 };

function ranked(name: string): number {
  return name === "fourier_error" ? 2 : name.includes("error") ? 1 : 0;
}

export function CurvePanel() {
  const curves = usePage((page) => page.curves);
  const [wanted, setWanted] = useState("");
  const [isLog, setLog] = useState(true);
  const [axis, setAxis] = useState<"iteration" | "time_s">("iteration");
  const choices = useMemo(() => Object.entries(curves).flatMap(([source, columns]) =>
    Object.keys(columns).filter((name) => name !== "time_s").map((name) => ({ source, name, key: `${source} · ${name}` }))
  ).sort((a, b) => ranked(b.name) - ranked(a.name)), [curves]);
  const choice = choices.find((c) => c.key === wanted) ?? choices[0];
  const columns = choice ? curves[choice.source] : undefined;
  const across = columns?.[axis] ? axis : "time_s";
  const points = useMemo(() => {
    const found: Point[] = [];
    columns?.[choice!.name]?.forEach((y, k) => {
      const x = columns[across]?.[k];
      if (y != null && x != null && (!isLog || y > 0)) found.push([x, y]);
    });
    return found;
  }, [columns, choice, across, isLog]);
  return (
    <section className="panel curve" aria-label="Curve" data-testid="panel-curve">
      <header>
        <h2>Progress</h2>
        {choices.length > 0 && <select aria-label="which curve" value={choice?.key ?? ""} onChange={(e) => setWanted(e.target.value)}>
          {choices.map((c) => <option key={c.key} value={c.key}>{c.name.replaceAll("_", " ")}</option>)}
        </select>}
        <span className="grow" />
        <button className="small" onClick={() => setAxis(across === "iteration" ? "time_s" : "iteration")}
          disabled={!columns?.["iteration"]}>over {across === "iteration" ? "iterations" : "time"}</button>
        <button className="small" aria-pressed={isLog} onClick={() => setLog(!isLog)}>log</button>
      </header>
      <Plot points={points} isLog={isLog} unit={across === "iteration" ? "iteration" : "s"} />
      <footer>
        <span className="reading" data-testid="curve-last">
          {points.length ? `now ${short(points[points.length - 1]![1], 4)}` : ""}
        </span>
        <span className="grow" />
        <span>{points.length ? `best ${short(Math.min(...points.map((p) => p[1])), 4)}` : ""}</span>
      </footer>
    </section>
  );
}

function Plot({ points, isLog, unit }: { points: Point[]; isLog: boolean; unit: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 300, height: 150 });
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const { width, height } = size;
  const [x0, x1] = widened(points.map((p) => p[0]), false);
  const [y0, y1] = widened(points.map((p) => p[1]), isLog);
  const rows = Math.max(2, Math.floor(height / 26));
  const lift = isLog ? Math.log10 : (v: number) => v;
  const px = (x: number) => MARGIN.left + ((x - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const py = (y: number) => height - MARGIN.bottom - ((lift(y) - lift(y0)) / (lift(y1) - lift(y0))) * (height - MARGIN.top - MARGIN.bottom);
  const last = points[points.length - 1];
  return (
    <div className="plot" ref={box}>
      <svg width={width} height={height} role="img" aria-label={`curve of ${points.length} points`} data-testid="curve-svg">
        {points.length > 0 && (isLog ? logTicks(y0, y1, rows) : ticks(y0, y1, rows)).map((y) => (
          <g key={y}>
            <line x1={MARGIN.left} x2={width - MARGIN.right} y1={py(y)} y2={py(y)} className="grid" />
            <text x={MARGIN.left - 7} y={py(y) + 4} textAnchor="end">{short(y, 2)}</text>
          </g>
        ))}
        {points.length > 0 && ticks(x0, x1, Math.max(2, Math.floor(width / 90))).map((x) => (
          <text key={x} x={px(x)} y={height - MARGIN.bottom + 13} textAnchor="middle">{short(x)}</text>
        ))}
        {last && <text x={width - MARGIN.right} y={height - 2} textAnchor="end" className="unit">{unit}</text>}
        <polyline points={points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ")} />
        {last && <circle cx={px(last[0])} cy={py(last[1])} r={4} />}
      </svg>
      {!points.length && <p className="empty">No version of the result yet.</p>}
    </div>
  );
}

function widened(values: number[], isLog: boolean): Point {
  if (!values.length) return isLog ? [0.01, 1] : [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (isLog) return [low / 1.15, high * 1.15];
  return high > low ? [low, high] : [low - 0.5, low + 0.5];
}

function ticks(low: number, high: number, most: number): number[] {
  const raw = (high - low) / most;
  const decade = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * decade).find((s) => s >= raw) ?? raw;
  const found: number[] = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-6; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

function logTicks(low: number, high: number, most: number): number[] {
  const found: number[] = [];
  const spans = Math.log10(high / low);
  const steps = spans > 3 ? [1] : spans > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++) {
    for (const step of steps) {
      const value = Number((step * 10 ** decade).toPrecision(6));
      if (value >= low && value <= high) found.push(value);
    }
  }
  const every = Math.ceil(found.length / most);
  if (every > 1) return found.filter((_, k) => k % every === 0);
  return found.length > 1 ? found : ticks(low, high, 3).filter((v) => v > 0);
}
