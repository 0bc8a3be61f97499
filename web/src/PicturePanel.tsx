import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { gradient } from "./colour";
import { usePage } from "./store";
import { age, short } from "./text";
import type { Domain, Label, Pair, Part, Scale } from "./types";
import { usePicture } from "./usePicture";

interface Props {
  id: string;
  panel: number;
  title: string;
  label: Label | undefined;
  empty: string;
  scale?: Scale;
  map?: string;
  overlay?: boolean;
  isCompact?: boolean;
  choices?: Label[]; // pictures of the same kind, to choose from
}

const READ_WAIT_MS = 120;
const READ_MOST_MS = 3000;
const SIXTH_TURN = 24;

interface Reading {
  at: Pair;
  text: string;
}

interface Value {
  value: number | null;
  phase_rad?: number;
}

export function PicturePanel({ id, panel, title, label: first, choices = [], empty, scale: firstScale = "linear", map: firstMap = "viridis",
  overlay: hasOverlay = false, isCompact = true }: Props) {
  const [chosenPart, setPart] = useState<Part | null>(null);
  const [scale, setScale] = useState<Scale>(firstScale);
  const [maps, setMaps] = useState<Partial<Record<Part, string>>>({});
  const [fixed, setFixed] = useState<{ low: number; high: number } | null>(null);
  const [overlay, setOverlay] = useState(hasOverlay);
  const [chosen, choose] = useState("");
  const label = choices.find((choice) => choice.name === chosen) ?? first;
  const parts = label?.parts ?? [];
  const part: Part = chosenPart && parts.includes(chosenPart) ? chosenPart : (parts[0] ?? "value");
  const map = maps[part] ?? (part === "phase" ? "gray" : firstMap);
  const usedScale = part === "phase" ? "linear" : scale;
  const picture = usePicture({
    panel, label, part, scale: usedScale, low: fixed?.low ?? null, high: fixed?.high ?? null, map, overlay,
  });
  const choosePart = (next: Part) => {
    setPart(next);
    setFixed(null);
  };
  const { domain } = picture;
  return (
    <section className={`panel picture ${id}`} aria-label={title} data-testid={`panel-${id}`}>
      <header>
        <h2>{title}</h2>
        {choices.length > 1 && (
          <select value={label?.name ?? ""} onChange={(e) => choose(e.target.value)} aria-label={`${title}: which picture`}
            data-testid={`${id}-choice`}>
            {choices.map(({ name }) => <option key={name} value={name}>{name.split("/")[0]}</option>)}
          </select>
        )}
        {parts.length > 1 && isCompact && (
          <select value={part} onChange={(e) => choosePart(e.target.value as Part)} aria-label={`${title}: part`}
            data-testid={`${id}-part`}>
            {parts.map((name) => <option key={name}>{name}</option>)}
          </select>
        )}
        {parts.length > 1 && !isCompact && (
          <div className="tabs" role="tablist" aria-label={`${title}: part`}>
            {parts.map((name) => (
              <button key={name} role="tab" aria-selected={part === name} onClick={() => choosePart(name)}
                data-testid={`${id}-part-${name}`}>{name}</button>
            ))}
          </div>
        )}
        <span className="grow" />
        <Controls id={id} title={title} part={part} scale={usedScale} setScale={setScale} map={map}
          setMap={(next) => setMaps({ ...maps, [part]: next })} fixed={fixed} setFixed={setFixed}
          range={domain ? [domain.low, domain.high] : [0, 1]} />
        {hasOverlay && (
          <button className="small" aria-pressed={overlay} onClick={() => setOverlay(!overlay)}
            title="covered positions, planned box and beam">points</button>
        )}
        {picture.isZoomed && <button className="small" onClick={picture.reset}>reset</button>}
        {label && (
          <a className="small" href={pngAddress(label.name, part, usedScale, map, fixed)}
            download={`${label.name.replaceAll("/", "-")}-${part}.png`} data-testid={`${id}-png`}
            aria-label={`${title}: download as PNG`}>PNG</a>
        )}
      </header>
      <Stage id={id} title={title} label={label} part={part} picture={picture} empty={empty}>
        <ColourBar part={part} map={map} domain={label && domain} scale={usedScale} />
      </Stage>
    </section>
  );
}

function pngAddress(name: string, part: Part, scale: Scale, map: string, fixed: { low: number; high: number } | null) {
  const query = new URLSearchParams({ part, scale, map });
  if (fixed) {
    query.set("low", String(fixed.low));
    query.set("high", String(fixed.high));
  }
  return `api/picture/${name.split("/").map(encodeURIComponent).join("/")}.png?${query}`;
}

function Controls({ id, title, part, scale, setScale, map, setMap, fixed, setFixed, range }: {
  id: string; title: string; part: Part; scale: Scale; setScale: (s: Scale) => void; map: string;
  setMap: (m: string) => void; fixed: { low: number; high: number } | null;
  setFixed: (f: { low: number; high: number } | null) => void; range: Pair;
}) {
  const colours = usePage((page) => page.colours);
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      if (box.current?.open && !box.current.contains(event.target as Node)) box.current.open = false;
    };
    document.addEventListener("pointerdown", close);
    return () => document.removeEventListener("pointerdown", close);
  }, []);
  const escape = (event: KeyboardEvent) => {
    if (event.key === "Escape" && box.current) box.current.open = false;
  };
  const set = (end: "low" | "high", text: string) => {
    const value = Number(text);
    if (text !== "" && Number.isFinite(value)) setFixed({ low: range[0], high: range[1], ...fixed, [end]: value });
  };
  return (
    <details className="controls" ref={box} onKeyDown={escape}>
      <summary className="small" data-testid={`${id}-controls`} aria-label={`${title}: scale and colours`}>
        {part === "complex" ? "hue" : map} · {scale === "linear" ? "lin" : scale}{fixed ? " · fixed" : ""} ▾
      </summary>
      <div className="sheet">
        <label>scale
          <select value={scale} disabled={part === "phase"} onChange={(e) => setScale(e.target.value as Scale)}
            data-testid={`${id}-scale`}>
            <option value="linear">linear</option><option value="log">log</option><option value="sqrt">square root</option>
          </select>
        </label>
        <label>colours
          <select value={map} disabled={part === "complex"} onChange={(e) => setMap(e.target.value)} data-testid={`${id}-map`}>
            {Object.keys(colours).map((name) => <option key={name}>{name}</option>)}
          </select>
        </label>
        <label className="line">
          <input type="checkbox" checked={!fixed} data-testid={`${id}-auto`}
            onChange={(e) => setFixed(e.target.checked ? null : { low: range[0], high: range[1] })} /> follow the data
        </label>
        <div className="ends">
          <label>min<input type="number" step="any" value={Number((fixed?.low ?? range[0]).toPrecision(4))}
            onChange={(e) => set("low", e.target.value)} /></label>
          <label>max<input type="number" step="any" value={Number((fixed?.high ?? range[1]).toPrecision(4))}
            onChange={(e) => set("high", e.target.value)} /></label>
        </div>
        {part === "phase" && (
          <button className="small" onClick={() => {
            setFixed({ low: -Math.PI, high: Math.PI });
            setMap("twilight");
          }}>−π … π</button>
        )}
      </div>
    </details>
  );
}

function Stage({ id, title, label, part, picture, empty, children }: {
  id: string; title: string; label: Label | undefined; part: Part; picture: ReturnType<typeof usePicture>;
  empty: string; children: React.ReactNode;
}) {
  const [reading, setReading] = useState<Reading | null>(null);
  const wanted = useRef<Pair | null>(null);
  const isAsking = useRef(false);
  const read = async (at: Pair | null) => {
    wanted.current = at;
    if (!at || !label) return setReading(null);
    if (isAsking.current) return; // one question at a time; the answer is for the pixel that it is shown with
    isAsking.current = true;
    const query = new URLSearchParams({ name: label.name, y: String(at[0]), x: String(at[1]) });
    let text = ""; // the connection banner says why
    try {
      const answer = await fetch(`api/value?${query}`, { signal: AbortSignal.timeout(READ_MOST_MS) });
      text = valueText(await answer.json() as Value, part, label.unit);
    } catch { /* as above */ }
    if (wanted.current) setReading({ at, text });
    await new Promise((resolve) => setTimeout(resolve, READ_WAIT_MS));
    isAsking.current = false;
    if (wanted.current && wanted.current !== at) void read(wanted.current);
  };
  const down = (event: PointerEvent<HTMLCanvasElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    picture.drag.current = picture.position(event);
  };
  const move = (event: PointerEvent<HTMLCanvasElement>) => {
    const from = picture.drag.current;
    if (from && event.buttons & 1) {
      const to = picture.position(event);
      picture.pan(to[0] - from[0], to[1] - from[1]);
      picture.drag.current = to;
    }
    void read(picture.pixelAt(event));
  };
  const key = (event: KeyboardEvent) => {
    const actions: Record<string, () => void> = {
      "+": () => picture.zoom(1.25), "=": () => picture.zoom(1.25), "-": () => picture.zoom(0.8), "0": picture.reset,
      ArrowLeft: () => picture.pan(0, SIXTH_TURN), ArrowRight: () => picture.pan(0, -SIXTH_TURN),
      ArrowUp: () => picture.pan(SIXTH_TURN, 0), ArrowDown: () => picture.pan(-SIXTH_TURN, 0),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  return (
    <>
      <div className="stage">
        <div className="screen">
          <canvas ref={picture.canvas} tabIndex={0} className={picture.isZoomed ? "zoomed" : ""} role="img" data-testid={`${id}-canvas`}
            aria-label={`${title}, ${part}; plus and minus zoom, arrows move, 0 shows all`}
            onPointerDown={down} onPointerMove={move} onPointerUp={() => (picture.drag.current = null)}
            onPointerLeave={() => void read(null)} onDoubleClick={picture.reset} onKeyDown={key} />
          {!label && <p className="empty">{empty}</p>}
        </div>
        {children}
      </div>
      <footer>
        <span className="reading" data-testid={`${id}-reading`}>
          {reading && label ? `${placeText(reading.at, label)}  ${reading.text}` : describe(label)}
        </span>
        <span className="grow" />
        <Freshness id={id} timeMs={picture.timeMs} dropped={picture.domain?.dropped ?? 0} />
      </footer>
    </>
  );
}

function describe(label: Label | undefined): string {
  if (!label) return "";
  const size = `${label.shape[1]} × ${label.shape[0]} px`;
  if (!label.pixel_um) return size;
  return `${size} · ${short(label.pixel_um[1] * 1000)} nm a pixel`;
}

function placeText([y, x]: Pair, label: Label): string {
  const pixel = `[${y}, ${x}]`;
  if (!label.pixel_um || !label.origin_um) return pixel;
  const um = (k: 0 | 1, at: number) => (label.origin_um![k] + at * label.pixel_um![k]).toFixed(3);
  return `${pixel}  y ${um(0, y)}  x ${um(1, x)} µm`;
}

function valueText(answer: Value, part: Part, unit: string): string {
  if (answer.value === null || answer.value === undefined) return "no value";
  const phase = answer.phase_rad === undefined ? "" : `${short(answer.phase_rad)} rad`;
  if (part === "phase") return phase;
  const value = `${short(answer.value, 4)}${unit ? ` ${unit}` : ""}`;
  return part === "complex" ? `${value}, ${phase}` : value;
}

function ColourBar({ part, map, domain, scale }: { part: Part; map: string; domain: Domain | null | undefined; scale: Scale }) {
  const colours = usePage((page) => page.colours);
  const anchors = colours[part === "complex" ? "hue" : map] ?? ["000000", "ffffff"];
  const ends = part === "complex" ? ["−π", "π"] : domain ? [short(domain.low), short(domain.high)] : ["", ""];
  return (
    <div className={domain ? "bar" : "bar unused"} aria-hidden="true">
      <span>{ends[1]}</span>
      <i ref={(element) => { if (element) element.style.background = gradient(anchors); }} />
      <span>{ends[0]}</span>
      {scale !== "linear" && part !== "complex" && <em>{scale}</em>}
    </div>
  );
}

function Freshness({ id, timeMs, dropped }: { id: string; timeMs: number; dropped: number }) {
  const offset = usePage((page) => page.clockOffsetMs);
  const isOver = usePage((page) => page.status?.verdict != null);
  const [, tick] = useState(0);
  useEffect(() => {
    const clock = setInterval(() => tick(Date.now()), 500);
    return () => clearInterval(clock);
  }, []);
  if (!timeMs) return null;
  return (
    <span className="fresh" data-testid={`${id}-age`} title="age of the oldest frame in this picture; versions that passed unseen">
      {isOver ? "final" : `age ${age(Math.max(0, Date.now() + offset - timeMs))}`} · {dropped} skipped
    </span>
  );
}
