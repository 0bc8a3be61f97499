import {
  BaseEdge, Controls, EdgeLabelRenderer, Handle, Position, ReactFlow, type Edge, type EdgeProps, type Node,
  type NodeProps, type ReactFlowInstance,
} from "@xyflow/react";
import { useEffect, useMemo, useRef } from "react";
import { boundsOf, layout, NODE_HEIGHT, NODE_WIDTH, operatorOf, route, type Place } from "./layout";
import { usePage } from "./store";
import { age, bytes, fact, short, total } from "./text";
import type { LinkStatus, OperatorStatus } from "./types";

type OperatorNode = Node<{ operator: OperatorStatus }, "operator">;
type LinkEdge = Edge<{ link: LinkStatus; at: number; lanes: Place[] }, "link">;

const NODE_TYPES = { operator: OperatorBox };
const EDGE_TYPES = { link: LinkLine };
const MOST_FACTS = 2;
const FIRST_FACTS = ["fourier_error", "iteration"]; // the last of these comes first, then the others as they were told

export function Graph() {
  const operators = usePage((page) => page.status?.operators) ?? [];
  const links = usePage((page) => page.status?.links) ?? [];
  const flow = useRef<ReactFlowInstance<OperatorNode, LinkEdge> | null>(null);
  const box = useRef<HTMLElement>(null);
  const shape = operators.map((o) => o.name).join() + "|" + links.map((l) => `${l.source}>${l.target}`).join();
  const { places, lanes } = useMemo(() => layout(operators, links), [shape]); // the layout follows the graph, not its figures
  const nodes: OperatorNode[] = operators.map((operator) => ({
    id: operator.name, type: "operator", position: cornerOf(places.get(operator.name)), data: { operator },
    width: NODE_WIDTH, height: NODE_HEIGHT, draggable: false,
  }));
  const names = new Set(operators.map((o) => o.name));
  const edges: LinkEdge[] = links.map((link, k) => ({
    id: `${k}:${link.name}`, type: "link", source: operatorOf(link.source, names), target: operatorOf(link.target, names),
    data: { link, at: labelPlace(link, links), lanes: lanes.get(k) ?? [] }, focusable: false,
  }));
  const bounds = useRef(boundsOf([], []));
  bounds.current = boundsOf([...places.values()], [...lanes.values()].flat());
  const fit = () => void flow.current?.fitBounds(bounds.current, { padding: 0.02 });
  useEffect(() => {
    const frame = requestAnimationFrame(fit);
    return () => cancelAnimationFrame(frame);
  }, [shape]);
  useEffect(() => {
    const watch = new ResizeObserver(fit);
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  return (
    <section className="panel graph" ref={box} aria-label="Workflow" data-testid="panel-graph">
      <header><h2>Workflow</h2></header>
      <div className="flow">
        <ReactFlow nodes={nodes} edges={edges} nodeTypes={NODE_TYPES} edgeTypes={EDGE_TYPES} colorMode="dark" minZoom={0.2}
          maxZoom={1.4} nodesConnectable={false} zoomOnDoubleClick={false} preventScrolling={false} zoomOnScroll={false}
          proOptions={{ hideAttribution: true }} onInit={(instance) => {
            flow.current = instance;
            fit();
          }}>
          <Controls showInteractive={false} position="top-right" orientation="horizontal" />
        </ReactFlow>
      </div>
    </section>
  );
}

/** Labels of links that leave one operator stand one after the other, so that they do not cover each other. */
function labelPlace(link: LinkStatus, links: LinkStatus[]): number {
  const siblings = links.filter((other) => other.source === link.source);
  return siblings.length < 2 ? 0.5 : 0.64 - (0.28 * siblings.indexOf(link)) / (siblings.length - 1);
}

function titleOf(link: LinkStatus): string {
  const times = Object.entries(link.age_ms).map(([name, ms]) => `${name} ${age(ms)}`).join(", ");
  const ways = (link.paths ?? []).map((path) =>
    `${path.receiver} by ${path.by}, ${age(path.round_trip_ms)}${path.bytes_per_s ? `, ${bytes(path.bytes_per_s)}/s` : ""}`);
  return `${link.name} (${[link.kind, ...ways].join("; ")} ${link.policy}): acknowledged of sent; ${bytes(link.bytes)} in all, ` +
    `${bytes(link.bytes_per_s)}/s; age in the queue ${times || "not measured"}; queue ${bytes(link.queue_bytes)} of ${bytes(link.limit_bytes)}`;
}

function cornerOf(place: Place | undefined): Place {
  return { x: place?.x ?? 0, y: (place?.y ?? 0) - NODE_HEIGHT / 2 };
}

/** A point of the S-curve between two columns. */
function along(x0: number, y0: number, x1: number, y1: number, t: number): [number, number] {
  const reach = (x1 - x0) / 2;
  const back = 1 - t;
  const x = x0 * back ** 3 + 3 * (x0 + reach) * back ** 2 * t + 3 * (x1 - reach) * back * t ** 2 + x1 * t ** 3;
  return [x, y0 + (y1 - y0) * t * t * (3 - 2 * t)];
}

function OperatorBox({ data: { operator } }: NodeProps<OperatorNode>) {
  const facts = Object.entries(operator.facts).filter(([, v]) => typeof v === "number")
    .sort(([a], [b]) => FIRST_FACTS.indexOf(b) - FIRST_FACTS.indexOf(a)).slice(0, MOST_FACTS);
  return (
    <div className={`operator ${operator.state}`} data-testid={`operator-${operator.name}`} title={operator.text}>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <div className="name"><i aria-hidden="true" /><b>{operator.name}</b>{operator.replicas > 1 && ` ×${operator.replicas}`}<span>{operator.state}</span></div>
      <div className="use">{operator.use}{operator.site ? ` @ ${operator.site}` : ""}</div>
      <div className="facts">
        {facts.length ? facts.map(([name, value]) => <div key={name}>{name.replaceAll("_", " ")} <b>{fact(value)}</b></div>)
          : <div>{operator.text}</div>}
      </div>
      <Handle type="source" position={Position.Right} isConnectable={false} />
    </div>
  );
}

function LinkLine({ id, data, sourceX, sourceY, targetX, targetY }: EdgeProps<LinkEdge>) {
  const lanes = data?.lanes ?? [];
  const path = route({ x: sourceX, y: sourceY }, { x: targetX, y: targetY }, lanes);
  const link = data?.link;
  const lane = lanes[0];
  const [x, y] = lane ? [lane.x + NODE_WIDTH / 2, lane.y] : along(sourceX, sourceY, targetX, targetY, data?.at ?? 0.5);
  if (!link) return null;
  const [dropped, lost] = [total(link.dropped), total(link.lost)];
  const p99 = link.age_ms["p99"];
  const busy = link.frames_per_s > 0;
  return (
    <>
      <BaseEdge id={id} path={path} className={`link ${busy ? "busy" : ""} ${lost ? "lossy" : ""}`} />
      <EdgeLabelRenderer>
        <div className="linklabel" style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}
          title={titleOf(link)}>
          <div>{link.acknowledged}/{link.sent}</div>
          {busy && <div><b>{short(link.frames_per_s)}</b>/s{p99 !== undefined && ` · ${age(p99)}`}</div>}
          {dropped > 0 && <div className="dropped">{dropped} dropped</div>}
          {lost > 0 && <div className="lost">{lost} lost</div>}
        </div>
      </EdgeLabelRenderer>
    </>
  );
}
