import { usePage } from "../store";
import { Menu } from "./Menu";
import { RunCard } from "./RunCard";
import { useDesk } from "./store";

export function Desk() {
  const runs = useDesk((desk) => desk.runs);
  const away = useDesk((desk) => desk.away);
  const complaint = usePage((page) => page.complaint);
  const me = usePage((page) => page.me);
  return (
    <div className="page desk">
      <header className="head">
        <h1>camlink</h1>
        <span className="workflow">runs</span>
        {away && <p className="banner bad" role="alert">The desk does not answer; its runs go on. Trying again.</p>}
        {!away && complaint && (
          <p className="banner bad" role="alert" data-testid="banner" onClick={() => usePage.setState({ complaint: "" })}>{complaint}</p>
        )}
        <span className="grow" />
        {me?.who && <span className="scan"><b>{me.who}</b>{me.who !== me.role && `, ${me.role}`}</span>}
        {me?.role === "viewer" && <a className="lever" href="login">Log in to act</a>}
      </header>
      <div className="columns">
        <Menu />
        <section aria-label="runs" className="runs">
          {runs?.length === 0 && <p className="hint">No run yet. Choose a workflow and start it.</p>}
          {runs?.map((run) => <RunCard key={run.name} run={run} mayStop={me !== null && me.role !== "viewer"} />)}
        </section>
      </div>
    </div>
  );
}
