// What the desk shows; asked anew every so often, as a list of runs is small and changes slowly.

import { create } from "zustand";
import { usePage } from "../store";
import type { Entry, Form, Run } from "./types";

const PERIOD_MS = 1000;

interface DeskPage {
  entries: Entry[];
  runs: Run[] | null;
  form: Form | null; // of the workflow that is chosen
  away: boolean;
}

export const useDesk = create<DeskPage>(() => ({ entries: [], runs: null, form: null, away: false }));

export async function ask<T>(path: string): Promise<T | null> {
  const answer = await fetch(path);
  if (answer.status === 401) location.replace("login");
  if (!answer.ok) {
    usePage.setState({ complaint: (await answer.text()).slice(0, 500) });
    return null;
  }
  return (await answer.json()) as T;
}

export async function choose(name: string): Promise<void> {
  useDesk.setState({ form: name ? await ask<Form>(`api/workflow/${encodeURIComponent(name)}`) : null });
}

export async function readRuns(): Promise<void> {
  const runs = await ask<Run[]>("api/runs");
  if (runs) useDesk.setState({ runs, away: false });
}

export async function follow(): Promise<void> {
  for (;;) {
    try {
      await readRuns();
      if (useDesk.getState().entries.length === 0) useDesk.setState({ entries: (await ask<Entry[]>("api/workflows")) ?? [] });
    } catch {
      useDesk.setState({ away: true });
    }
    await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
  }
}
