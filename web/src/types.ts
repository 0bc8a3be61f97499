// What the server says: mirrors runtime/status.py, display/offer.py and display/web/message.py.

export type Part = "value" | "amplitude" | "phase" | "complex";
export type Scale = "linear" | "log" | "sqrt";
export type Region = [number, number, number, number]; // y0, x0, y1, x1
export type Pair = [number, number]; // y, x

export interface Lens {
  part: Part;
  scale: Scale;
  low: number | null;
  high: number | null;
  region: Region | null;
  height: number;
  width: number;
}

export interface Label {
  name: string;
  version: number;
  parts: Part[];
  shape: Pair;
  kind: string;
  unit: string;
  pixel_um: Pair | null;
  origin_um: Pair | null;
  made_s: number;
  final: boolean;
}

export interface Domain {
  panel: number;
  id: number;
  name: string;
  low: number;
  high: number;
  region: Region;
  step: number;
  part: Part;
  scale: Scale;
  dropped: number;
  shape: Pair;
  unit: string;
  pixel_um: Pair | null;
  origin_um: Pair | null;
}

export interface Step {
  title: string;
  state: "waiting" | "active" | "done" | "failed";
  done: number;
  total: number;
  text: string;
}

export interface OperatorStatus {
  name: string;
  use: string;
  kind: string;
  site: string;
  state: "waiting" | "starting" | "ready" | "running" | "ended" | "failed";
  text: string;
  facts: Record<string, unknown>;
  replicas: number;
}

/** One parameter of an operator, as workflow/parameter.py tells of it. */
export interface Field {
  name: string;
  type: string;
  unit: string;
  bounds: string;
  help: string;
  choices: unknown[];
  value: unknown;
}

export interface Me {
  who: string;
  role: "viewer" | "operator" | "owner";
  actions: string[];
  choices: { pause?: string[]; scale?: string[]; set?: Record<string, Field[]> };
}

/** Dask's own pages of the cluster of a site. */
export interface Dashboard {
  site: string;
  path: string;
}

export interface Order {
  at_s: number;
  type: "Scale" | "Pause" | "Adjust" | "Tag";
  who: string;
  operator?: string;
  replicas?: number;
  paused?: boolean;
  parameters?: Record<string, unknown>;
  text?: string;
}

/** Blocks that took less than each edge, and no less than the edge before, which is half of it. */
export interface Histogram {
  edges_ms: number[];
  blocks: number[];
  sum_ms: number;
}

export interface LinkStatus {
  name: string;
  source: string;
  target: string;
  kind: string;
  policy: string;
  sent: number;
  received: number;
  acknowledged: number;
  dropped: Record<string, number>;
  lost: Record<string, number>;
  in_flight: number;
  bytes: number;
  frames_per_s: number;
  bytes_per_s: number;
  paths?: { receiver: string; by: string; to: string; round_trip_ms: number; bytes_per_s: number; chosen: number }[];
  age_ms: Record<string, number>;
  age_histogram: Histogram;
  hop_histogram: Histogram;
  queue_bytes: number;
  peak_queue_bytes: number;
  limit_bytes: number;
}

export interface RunStatus {
  version: number;
  workflow: string;
  scan: string;
  elapsed_s: number;
  steps: Step[];
  operators: OperatorStatus[];
  links: LinkStatus[];
  frames: Record<string, unknown>;
  verdict: "complete" | "degraded" | "failed" | null;
  reasons: string[];
  paused: boolean;
  orders: Order[];
}

export interface Points {
  positions_um: Pair[];
  span_um: Region | null;
  beam_um: Pair | null;
  planned: number;
}

export type Curves = Record<string, Record<string, (number | null)[]>>;

export type ServerMessage =
  | { type: "pictures"; pictures: Label[] }
  | { type: "status"; status: RunStatus | null; now_ms: number }
  | { type: "curves"; curves: Curves; now_ms: number }
  | { type: "points"; points: Points; now_ms: number }
  | { type: "tick"; now_ms: number }
  | ({ type: "domain" } & Domain)
  | { type: "error"; text: string; count: number };

export interface Frame {
  sequence: number;
  height: number;
  width: number;
  planes: number;
  domainId: number;
  timeMs: number;
  panel: number;
  pixels: Uint8Array;
}
