// A live picture on a canvas: subscribes, draws on the browser's clock, acknowledges after drawing, zooms and pans.

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Painter } from "./draw";
import { acknowledge, subscribe, unsubscribe } from "./socket";
import { usePage } from "./store";
import type { Domain, Frame, Label, Lens, Pair } from "./types";
import { fit, inside, toArray, visible, zoomed, type Viewport } from "./viewport";

const SUBSCRIBE_WAIT_MS = 90;
const SETTLE_PX = 32; // view sizes are rounded, so that viewers share pictures

export interface Options {
  panel: number;
  label: Label | undefined;
  part: Lens["part"];
  scale: Lens["scale"];
  low: number | null;
  high: number | null;
  map: string;
  overlay: boolean;
}

export function usePicture(options: Options) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useRef<{ frame: Frame; domain: Domain } | null>(null);
  const waiting = useRef<number[]>([]);
  const latest = useRef<Frame | null>(null);
  const domains = useRef<Domain | null>(null);
  const view = useRef<Viewport | null>(null);
  const asked = useRef(0);
  const drag = useRef<Pair | null>(null);
  const timer = useRef<number | undefined>(undefined);
  const painter = useRef<Painter | null>(null);
  const [domain, setDomain] = useState<Domain | null>(null);
  const [timeMs, setTimeMs] = useState(0);
  const [isZoomed, setZoomed] = useState(false);
  const { panel, label, part, scale, low, high, map, overlay } = options;
  const name = label?.name;
  const shapeKey = label?.shape.join("x") ?? "";
  const shape = useMemo<Pair | undefined>(() => label?.shape, [shapeKey]); // labels are made anew with each message
  const current = useRef(options);
  current.current = options;

  const render = useCallback(() => {
    asked.current = 0;
    const element = canvas.current;
    const incoming = latest.current;
    if (incoming && domains.current?.id === incoming.domainId) {
      held.current = { frame: incoming, domain: domains.current };
      latest.current = null;
    }
    if (element && held.current) {
      const { frame, domain } = held.current;
      view.current = view.current ? inside(view.current, domain.shape, element) : fit(domain.shape, element);
      painter.current ??= new Painter(element);
      const { colours, points } = usePage.getState();
      const now = current.current;
      painter.current.draw({
        frame, domain, view: view.current, map: colours[now.map] ?? ["000000", "ffffff"],
        hue: colours["hue"] ?? ["ffffff", "ffffff"], points: now.overlay ? points : null,
      });
      element.dataset.sequence = String(frame.sequence);
    }
    for (const sequence of waiting.current.splice(0)) acknowledge(sequence);
  }, []);

  const request = useCallback(() => {
    if (!asked.current) asked.current = requestAnimationFrame(render);
  }, [render]);

  const ask = useCallback(() => {
    const element = canvas.current;
    if (!element || !name || !shape || element.width < 2) return;
    const round = (n: number) => Math.min(2048, Math.ceil(n / SETTLE_PX) * SETTLE_PX);
    const region = view.current ? visible(view.current, shape, element) : null;
    const lens = { part, scale, low, high, region, height: round(element.height), width: round(element.width) };
    subscribe(panel, name, lens, {
      domain: (news) => {
        domains.current = news;
        setDomain(news);
      },
      frame: (frame) => {
        waiting.current.push(frame.sequence);
        latest.current = frame;
        setTimeMs(frame.timeMs);
        request();
      },
    });
  }, [panel, name, shape, part, scale, low, high, request]);

  const settle = useCallback(() => {
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(ask, SUBSCRIBE_WAIT_MS);
    request();
  }, [ask, request]);

  useEffect(() => {
    view.current = null;
    setZoomed(false);
  }, [name, shape]);
  useEffect(() => ask(), [ask]);
  useEffect(() => () => unsubscribe(panel), [panel]);
  useEffect(() => usePage.subscribe((now, before) => {
    if (current.current.overlay && now.points !== before.points) request();
    if (now.colours !== before.colours) request();
  }), [request]);
  useEffect(request, [map, overlay, request]);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const watch = new ResizeObserver(() => {
      const ratio = window.devicePixelRatio || 1;
      const size = { height: Math.round(element.clientHeight * ratio), width: Math.round(element.clientWidth * ratio) };
      if (size.height === element.height && size.width === element.width) return;
      element.height = size.height;
      element.width = size.width;
      view.current = null;
      setZoomed(false);
      render(); // at once: a canvas is empty after its size has changed
      settle();
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, [render, settle]);

  const position = useCallback((event: { clientX: number; clientY: number }): Pair => {
    const box = canvas.current!.getBoundingClientRect();
    const ratio = canvas.current!.width / Math.max(box.width, 1);
    return [(event.clientY - box.top) * ratio, (event.clientX - box.left) * ratio];
  }, []);

  const zoom = useCallback((factor: number, at?: Pair) => {
    const element = canvas.current;
    if (!element || !view.current || !shape) return;
    view.current = zoomed(view.current, shape, element, at ?? [element.height / 2, element.width / 2], factor);
    setZoomed(view.current.scale > fit(shape, element).scale * 1.001);
    settle();
  }, [shape, settle]);

  const pan = useCallback((dy: number, dx: number) => {
    const element = canvas.current;
    if (!element || !view.current || !shape) return;
    const moved = { ...view.current, y: view.current.y - dy / view.current.scale, x: view.current.x - dx / view.current.scale };
    view.current = inside(moved, shape, element);
    settle();
  }, [shape, settle]);

  const reset = useCallback(() => {
    view.current = null;
    setZoomed(false);
    settle();
  }, [settle]);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0016), position(event));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [zoom, position]);

  const pixelAt = useCallback((event: { clientX: number; clientY: number }): Pair | null => {
    if (!canvas.current || !view.current || !shape) return null;
    const [y, x] = toArray(view.current, canvas.current, position(event));
    return y >= 0 && x >= 0 && y < shape[0] && x < shape[1] ? [Math.floor(y), Math.floor(x)] : null;
  }, [shape, position]);

  return { canvas, domain, timeMs, isZoomed, zoom, pan, reset, pixelAt, position, drag };
}
