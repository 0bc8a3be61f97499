import { fact } from "./text";
import type { OperatorStatus } from "./types";

export function Notes({ operators }: { operators: OperatorStatus[] }) {
  return (
    <div className="scroll" data-testid="panel-notes" tabIndex={0} aria-label="facts">
      <dl>
        {operators.flatMap((operator) => Object.entries(operator.facts)
          .filter(([name]) => name !== "warnings")
          .map(([name, value]) => (
            <div key={`${operator.name}.${name}`}>
              <dt><em>{operator.name}</em> {name.replaceAll("_", " ")}</dt><dd title={fact(value)}>{fact(value)}</dd>
            </div>
          )))}
      </dl>
    </div>
  );
}
