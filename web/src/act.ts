// What may be done through the page: who we are for the run, and each action as one request.

import { usePage } from "./store";
import type { Dashboard, Me } from "./types";

export async function readMe(): Promise<void> {
  const answer = await fetch("api/me");
  if (answer.ok) usePage.setState({ me: (await answer.json()) as Me });
}

export async function readDashboards(): Promise<void> {
  const answer = await fetch("api/dashboards");
  if (answer.ok) usePage.setState({ dashboards: (await answer.json()) as Dashboard[] });
}

/** Ask the run (of a desk, the one at `of`) for something; a refusal is said in the banner. True when it was done. */
export async function act(name: string, given: object, of = ""): Promise<boolean> {
  try {
    const answer = await fetch(`${of}api/act/${name}`, { method: "POST", body: JSON.stringify(given) });
    const refused = answer.ok ? "" : await words(answer);
    usePage.setState({ complaint: refused });
    return answer.ok;
  } catch {
    usePage.setState({ complaint: `${name}: the run did not answer.` });
    return false;
  }
}

export async function words(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return (JSON.parse(text) as { error: string }).error;
  } catch {
    return text || answer.statusText;
  }
}
