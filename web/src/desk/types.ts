// What a desk says: mirrors display/desk/records.py.

import type { Field } from "../types";

export interface Entry {
  name: string;
  about: string;
}

export interface Part {
  operator: string;
  use: string;
  help: string;
  fields: Field[];
}

export interface Form {
  name: string;
  about: string;
  parts: Part[];
  problem: string;
}

export interface Run {
  name: string;
  state: "starting" | "running" | "silent" | "ended" | "lost";
  began: number;
  workflow: string;
  who: string;
  verdict: string;
  reasons: string[];
  frames: Record<string, unknown>;
  elapsed_s: number;
  paused: boolean;
  page: boolean;
  picture: boolean;
  folder: string;
  files: string[];
  result: Record<string, number>;
}
