import { usePage } from "./store";

const WAITING = ["identify and set up resources", "launch services", "connect network", "execute graph"].map((title) => ({
  title, state: "waiting" as const, done: 0, total: 0, text: "",
}));

export function Steps() {
  const steps = usePage((page) => page.status?.steps);
  return (
    <ol className="steps" aria-label="steps of the run">
      {(steps?.length ? steps : WAITING).map((step, k) => {
        const part = step.state === "done" ? 100 : step.total ? Math.min(100, (100 * step.done) / step.total) : 0;
        return (
          <li key={step.title} className={step.state} data-testid={`step-${k + 1}`}>
            <span className="number" aria-hidden="true">{step.state === "done" ? "✓" : step.state === "failed" ? "✕" : k + 1}</span>
            <span className="what">
              <b>{step.title}</b>
              <span>{step.text || step.state}</span>
            </span>
            <progress max={100} value={part} aria-label={`${step.title}: ${step.state}`} />
          </li>
        );
      })}
    </ol>
  );
}
