import { Spark } from "./Spark";
import { total } from "./text";
import type { LinkStatus } from "./types";

function because(counts: Record<string, number>): string {
  return Object.entries(counts).map(([why, n]) => `${n} ${why}`).join(", ");
}

export function Accounting({ links }: { links: LinkStatus[] }) {
  return (
    <>
      <div className="scroll" data-testid="panel-account" tabIndex={0} aria-label="frames by link">
        <table>
          <thead>
            <tr><th>link</th><th>sent</th><th>ack.</th><th>flying</th><th>drop.</th><th>lost</th><th title="blocks by age at their arrival, 64 µs to 2 s">age</th><th aria-label="adds up" /></tr>
          </thead>
          <tbody>{links.map((link) => <Row key={link.name} link={link} />)}</tbody>
        </table>
      </div>
      <footer><span className="law">sent = acknowledged + lost + in flight</span></footer>
    </>
  );
}

function Row({ link }: { link: LinkStatus }) {
  const [dropped, lost] = [total(link.dropped), total(link.lost)];
  const holds = link.sent === link.acknowledged + lost + link.in_flight;
  return (
    <tr data-testid={`link-${link.name}`} title={`policy ${link.policy}`}>
      <td>{link.source} → {link.target}</td>
      <td>{link.sent}</td>
      <td>{link.acknowledged}</td>
      <td>{link.in_flight}</td>
      <td className={dropped ? "dropped" : ""} title={because(link.dropped)}>{dropped}</td>
      <td className={lost ? "lost" : ""} title={because(link.lost)}>{lost}</td>
      <td><Spark histogram={link.age_histogram} name={`ages-${link.name}`} /></td>
      <td className={holds ? "good" : "lost"} aria-label={holds ? "adds up" : "does not add up"}>{holds ? "✓" : "≠"}</td>
    </tr>
  );
}
