import { useState, type FormEvent } from "react";
import { act } from "./act";
import { usePage } from "./store";
import { duration, fact } from "./text";
import type { Field, Order } from "./types";

/** Stop and pause, where the role allows; stopping takes two clicks. */
export function Levers() {
  const me = usePage((page) => page.me);
  const status = usePage((page) => page.status);
  const [sure, setSure] = useState(false);
  if (!me?.actions.includes("stop") || !status || status.verdict) return null;
  return (
    <span className="levers">
      {Boolean(me.choices.pause?.length) && (
        <button className="lever" data-testid="pause" onClick={() => void act("pause", { paused: !status.paused })}>
          {status.paused ? "Go on" : "Pause"}
        </button>
      )}
      <button className={`lever stop ${sure ? "sure" : ""}`} data-testid="stop" onBlur={() => setSure(false)}
        onClick={() => (sure ? void act("stop", {}).then(() => setSure(false)) : setSure(true))}>
        {sure ? "Stop now? What arrived is kept" : "Stop"}
      </button>
    </span>
  );
}

export function Control() {
  const me = usePage((page) => page.me);
  const status = usePage((page) => page.status);
  const over = Boolean(status?.verdict);
  const mayAct = me !== null && me.actions.includes("stop") && !over;
  return (
    <div className="scroll control" data-testid="panel-control" tabIndex={0} aria-label="control">
      {mayAct && <Replicas names={me.choices.scale ?? []} />}
      {mayAct && <Tagging />}
      {!mayAct && !over && (
        <p className="hint">{me?.who ? `You are ${me.role} and may look. ` : ""}To act, <a href="login">log in</a> with a token
          of an operator.</p>
      )}
      <Dashboards />
      <Orders orders={status?.orders ?? []} />
      {mayAct && <Values choices={me.choices.set ?? {}} />}
    </div>
  );
}

function Dashboards() {
  const shown = usePage((page) => page.dashboards);
  if (shown.length === 0) return null;
  return (
    <p className="hint">Dask:{" "}
      {shown.map(({ site, path }) => <a key={site} href={path} target="_blank" rel="noreferrer" data-testid={`dask-${site}`}>cluster of {site} </a>)}
    </p>
  );
}

function Replicas({ names }: { names: string[] }) {
  const operators = usePage((page) => page.status?.operators) ?? [];
  const shown = operators.filter((o) => names.includes(o.name));
  if (shown.length === 0) return null;
  return (
    <fieldset>
      <legend>Replicas</legend>
      {shown.map(({ name, replicas }) => (
        <div className="line" key={name}>
          <span>{name}</span>
          <button className="step" aria-label={`one replica of ${name} fewer`} data-testid={`fewer-${name}`} disabled={replicas <= 1}
            onClick={() => void act("scale", { operator: name, replicas: replicas - 1 })}>−</button>
          <b data-testid={`replicas-${name}`}>{replicas}</b>
          <button className="step" aria-label={`one replica of ${name} more`} data-testid={`more-${name}`}
            onClick={() => void act("scale", { operator: name, replicas: replicas + 1 })}>+</button>
        </div>
      ))}
    </fieldset>
  );
}

function Values({ choices }: { choices: Record<string, Field[]> }) {
  const names = Object.keys(choices);
  const orders = usePage((page) => page.status?.orders) ?? [];
  const [name, setName] = useState(names[0] ?? "");
  const [changed, setChanged] = useState<Record<string, unknown>>({});
  if (names.length === 0) return null;
  const set = orders.filter((o) => o.type === "Adjust" && o.operator === name).map((o) => o.parameters ?? {});
  const now = (field: Field) => Object.assign({ [field.name]: field.value }, ...set)[field.name] as unknown;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void act("set", { operator: name, parameters: changed }).then((done) => done && setChanged({}));
  };
  return (
    <form onSubmit={submit}>
      <fieldset>
        <legend>Parameters of{" "}
          <select value={name} aria-label="operator" onChange={(e) => { setName(e.target.value); setChanged({}); }}>
            {names.map((n) => <option key={n}>{n}</option>)}
          </select>
        </legend>
        {choices[name]?.map((field) => (
          <label className="line" key={field.name} title={`${field.help} ${field.bounds}`}>
            <Name field={field} />
            <Input field={field} value={changed[field.name] ?? now(field)} put={(value) => setChanged({ ...changed, [field.name]: value })} />
          </label>
        ))}
        <button className="lever" data-testid="apply" disabled={Object.keys(changed).length === 0}>Apply from the next block on</button>
      </fieldset>
    </form>
  );
}

/** A name as people say it: its unit stands behind it, and once. */
export function Name({ field: { name, unit } }: { field: Field }) {
  const told = unit && name.toLowerCase().endsWith(`_${unit.toLowerCase()}`) ? name.slice(0, -unit.length - 1) : name;
  return <span>{told.replaceAll("_", " ")}{unit && <em> [{unit}]</em>}</span>;
}

export function Input({ field, value, put, id = `set-${field.name}` }: {
  field: Field; value: unknown; put: (value: unknown) => void; id?: string;
}) {
  if (field.type === "boolean") {
    return <input type="checkbox" data-testid={id} checked={Boolean(value)} onChange={(e) => put(e.target.checked)} />;
  }
  if (field.choices.length > 0) {
    return (
      <select data-testid={id} value={String(value)} onChange={(e) => put(field.choices.find((c) => String(c) === e.target.value))}>
        {field.choices.map((choice) => <option key={String(choice)}>{String(choice)}</option>)}
      </select>
    );
  }
  const isNumber = field.type === "number" || field.type === "integer";
  return <input type={isNumber ? "number" : "text"} step="any" data-testid={id} value={String(value ?? "")}
    onChange={(e) => put(isNumber && e.target.value !== "" ? Number(e.target.value) : e.target.value)} />;
}

function Tagging() {
  const [text, setText] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void act("tag", { text }).then((done) => done && setText(""));
  };
  return (
    <form onSubmit={submit}>
      <fieldset>
        <legend>Tag of the scan</legend>
        <div className="line">
          <input data-testid="tag" aria-label="a word about the scan" maxLength={200} value={text} onChange={(e) => setText(e.target.value)} />
          <button className="lever" disabled={!text.trim()}>Tag</button>
        </div>
      </fieldset>
    </form>
  );
}

function Orders({ orders }: { orders: Order[] }) {
  if (orders.length === 0) return null;
  return (
    <div className="orders"><table data-testid="orders" aria-label="who did what">
      <tbody>
        {[...orders].reverse().map((order, k) => (
          <tr key={orders.length - k}><td>{duration(order.at_s)}</td><td>{order.who || "its program"}</td><td>{say(order)}</td></tr>
        ))}
      </tbody>
    </table></div>
  );
}

function say(order: Order): string {
  if (order.type === "Scale") return `${order.replicas} replicas of ${order.operator}`;
  if (order.type === "Pause") return order.paused ? "paused" : "went on";
  if (order.type === "Adjust") return `${order.operator}: ${fact(order.parameters)}`;
  return order.text ?? "";
}
