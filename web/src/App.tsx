import { CurvePanel } from "./CurvePanel";
import { Graph } from "./Graph";
import { Header } from "./Header";
import { PicturePanel } from "./PicturePanel";
import { Side } from "./Side";
import { Steps } from "./Steps";
import { usePage } from "./store";
import type { Label } from "./types";

const MOST_OTHERS = 9;
const KINDS = ["object", "probe", "map", "frame"];

function area({ shape }: Label): number {
  return shape[0] * shape[1];
}

export function App() {
  const pictures = usePage((page) => page.pictures);
  const of = (kind: string) => pictures.filter((p) => p.kind === kind).sort((a, b) => area(b) - area(a));
  const [objects, probes, maps, frames] = KINDS.map(of) as [Label[], Label[], Label[], Label[]];
  const others = pictures.filter((p) => !KINDS.includes(p.kind) && p.kind !== "coverage");
  const hasCurves = usePage((page) => Object.keys(page.curves).length > 0);
  const isScan = [objects, probes, maps].some((found) => found.length > 0) || others.length === 0;
  const more = isScan ? others : others.slice(1);
  return (
    <div className="page">
      <Header />
      <Steps />
      {isScan ? <main>
        <PicturePanel id="object" panel={0} title="Object" label={objects[0]} choices={objects} map="gray" isCompact={false}
          empty="The first picture comes when the first frames are solved." />
        <PicturePanel id="frame" panel={1} title="Detector" label={frames[0]} choices={frames} scale="log" map="inferno" empty="No frame yet." />
        <PicturePanel id="map" panel={2} title="STXM map" label={maps[0]} choices={maps} map="viridis" overlay
          empty="No scan point yet." />
        <PicturePanel id="probe" panel={3} title="Probe" label={probes[0]} choices={probes} map="magma" empty="No probe yet." />
        <CurvePanel />
        <Graph />
        <Side />
      </main> : <main className="own">
        <PicturePanel key={others[0]!.name} id="object" panel={0} title={others[0]!.name} label={others[0]} empty="" isCompact={false} />
        <PicturePanel id="frame" panel={1} title="Detector" label={frames[0]} choices={frames} scale="log" map="inferno" empty="No frame yet." />
        <Graph />
        <Side />
      </main>}
      {(more.length > 0 || (!isScan && hasCurves)) && (
        <div className="more">
          {!isScan && hasCurves && <CurvePanel />}
          {more.slice(0, MOST_OTHERS).map((label, k) => (
            <PicturePanel key={label.name} id={`other-${k}`} panel={8 + k} title={label.name} label={label} empty="" />
          ))}
        </div>
      )}
    </div>
  );
}
