import { useState, type FormEvent } from "react";
import { words } from "../act";
import { Input, Name } from "../Control";
import { usePage } from "../store";
import { choose, readRuns, useDesk } from "./store";
import type { Part } from "./types";

export function Menu() {
  const entries = useDesk((desk) => desk.entries);
  const form = useDesk((desk) => desk.form);
  return (
    <section aria-label="workflows" className="menu">
      {entries.map(({ name, about }) => (
        <article key={name} className={`panel entry ${form?.name === name ? "chosen" : ""}`}>
          <button className="title" data-testid={`workflow-${name}`} aria-expanded={form?.name === name}
            onClick={() => void choose(form?.name === name ? "" : name)}>
            <b>{name}</b><span>{about}</span>
          </button>
          {form?.name === name && <Start key={name} name={name} parts={form.parts} problem={form.problem} />}
        </article>
      ))}
    </section>
  );
}

function Start({ name, parts, problem }: { name: string; parts: Part[]; problem: string }) {
  const me = usePage((page) => page.me);
  const [changed, setChanged] = useState<Record<string, unknown>>({});
  const [state, setState] = useState<{ busy: boolean; refused: string }>({ busy: false, refused: problem });
  const mayStart = me?.actions.includes("start") ?? false;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setState({ busy: true, refused: "" });
    void start(name, changed).then((refused) => setState({ busy: false, refused }));
  };
  return (
    <form onSubmit={submit} className="control">
      {state.refused && <pre className="refused" role="alert" data-testid="refused">{state.refused}</pre>}
      <div className="line go">
        <span className="hint">{mayStart ? said(Object.keys(changed).length) : `You are ${me?.role ?? "nobody yet"} and may look.`}</span>
        {Object.keys(changed).length > 0 && <button type="button" className="lever" onClick={() => setChanged({})}>As in the file</button>}
        {mayStart && <button className="lever start" data-testid="start" disabled={state.busy}>{state.busy ? "Starting…" : "Start"}</button>}
      </div>
      {parts.map(({ operator, use, help, fields }) => (
        <details key={operator}>
          <summary data-testid={`part-${operator}`} title={help}><b>{operator}</b> {use}</summary>
          {fields.map((field) => {
            const key = `${operator}.${field.name}`;
            return (
              <label className={`line ${key in changed ? "changed" : ""}`} key={key} title={`${field.help} ${field.bounds}`}>
                <Name field={field} />
                <Input id={`set-${key}`} field={field} value={key in changed ? changed[key] : field.value}
                  put={(value) => setChanged({ ...changed, [key]: value })} />
              </label>
            );
          })}
        </details>
      ))}
    </form>
  );
}

function said(count: number): string {
  return count === 0 ? "All values as in the file." : `${count} value${count > 1 ? "s" : ""} changed.`;
}

/** Start a run; what stands in its way, or nothing. */
async function start(workflow: string, parameters: Record<string, unknown>): Promise<string> {
  try {
    const answer = await fetch("api/act/start", { method: "POST", body: JSON.stringify({ workflow, parameters }) });
    if (!answer.ok) return await words(answer);
    await readRuns();
    return "";
  } catch {
    return "The desk did not answer.";
  }
}
