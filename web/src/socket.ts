// The one connection of the page: subscriptions go out, pictures come in; it comes back by itself when it is lost.

import { readDashboards, readMe } from "./act";
import { usePage } from "./store";
import type { Domain, Frame, Lens, ServerMessage } from "./types";

const HEADER_BYTES = 32;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;
const SILENCE_MS = 6000; // the server speaks every second

export interface PanelSink {
  domain(domain: Domain): void;
  frame(frame: Frame): void;
}

interface Subscription {
  sink: PanelSink;
  name: string;
  lens: Lens;
}

const panels = new Map<number, Subscription>();
let socket: WebSocket | null = null;
let waitMs = FIRST_WAIT_MS;
let heardAt = 0;

export function subscribe(panel: number, name: string, lens: Lens, sink: PanelSink): void {
  panels.set(panel, { sink, name, lens });
  send({ type: "subscribe", panel, name, lens });
}

export function unsubscribe(panel: number): void {
  panels.delete(panel);
  send({ type: "unsubscribe", panel });
}

export function acknowledge(sequence: number): void {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setUint32(0, sequence, true);
  socket.send(bytes.buffer);
}

export function connect(): void {
  const address = new URL("live", location.href); // the page may lie below the one of a desk
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  const mine = new WebSocket(address);
  socket = mine;
  mine.binaryType = "arraybuffer";
  mine.onopen = () => {
    waitMs = FIRST_WAIT_MS;
    heardAt = performance.now();
    usePage.setState({ connection: "live", complaint: "" });
    void readMe();
    void readDashboards();
    for (const [panel, { name, lens }] of panels) send({ type: "subscribe", panel, name, lens });
  };
  mine.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
    heardAt = performance.now();
    if (typeof event.data === "string") take(JSON.parse(event.data) as ServerMessage);
    else takeFrame(event.data);
  };
  mine.onclose = () => {
    if (socket !== mine) return;
    socket = null;
    usePage.setState({ connection: "lost", retryInS: waitMs / 1000 });
    setTimeout(connect, waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  };
}

setInterval(() => {
  if (socket?.readyState === WebSocket.OPEN && performance.now() - heardAt > SILENCE_MS) socket.close();
}, 1000);

function send(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function take(message: ServerMessage): void {
  switch (message.type) {
    case "status":
      usePage.setState({ status: message.status, clockOffsetMs: message.now_ms - Date.now() });
      break;
    case "tick":
      usePage.setState({ clockOffsetMs: message.now_ms - Date.now() });
      break;
    case "pictures":
      usePage.setState({ pictures: message.pictures });
      break;
    case "curves":
      usePage.setState({ curves: message.curves });
      break;
    case "points":
      usePage.setState({ points: message.points });
      break;
    case "domain":
      panels.get(message.panel)?.sink.domain(message);
      break;
    case "error":
      usePage.setState({ complaint: message.text });
  }
}

function takeFrame(data: ArrayBuffer): void {
  if (data.byteLength < HEADER_BYTES) return;
  const head = new DataView(data, 0, HEADER_BYTES);
  const flags = head.getUint32(12, true);
  const frame: Frame = {
    sequence: head.getUint32(0, true),
    height: head.getUint32(4, true),
    width: head.getUint32(8, true),
    planes: (flags & 0xff) + 1,
    domainId: flags >>> 16,
    timeMs: head.getFloat64(16, true),
    panel: head.getUint32(24, true),
    pixels: new Uint8Array(data, HEADER_BYTES),
  };
  const panel = panels.get(frame.panel);
  if (panel) panel.sink.frame(frame);
  else acknowledge(frame.sequence);
}
