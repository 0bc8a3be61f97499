import { create } from "zustand";
import type { Curves, Dashboard, Label, Me, Points, RunStatus } from "./types";

export type Connection = "connecting" | "live" | "lost";

interface Page {
  connection: Connection;
  retryInS: number;
  status: RunStatus | null;
  pictures: Label[];
  curves: Curves;
  points: Points;
  clockOffsetMs: number; // server minus browser
  colours: Record<string, string[]>;
  complaint: string;
  me: Me | null;
  dashboards: Dashboard[];
}

export const usePage = create<Page>(() => ({
  connection: "connecting",
  retryInS: 0,
  status: null,
  pictures: [],
  curves: {},
  points: { positions_um: [], span_um: null, beam_um: null, planned: 0 },
  clockOffsetMs: 0,
  colours: {},
  complaint: "",
  me: null,
  dashboards: [],
}));
