// Who looks at the page: whose token it is and what it may do. The service is asked once for each token and decides
// anyway; so where it cannot be found out, everything is offered and a refusal is said in the service's words.

import { asksForToken, once, token } from "./api.js";

const ROLES = ["viewer", "operator", "admin"];

class Who extends EventTarget {
  constructor() {
    super();
    this.forget();
  }

  forget() {
    this.of = null; // the token that was asked about
    this.caller = null;
    this.settled = !asksForToken;
  }

  // Whether what needs this role is offered; nothing is while the answer is on its way.
  may(role) {
    return this.settled && (!this.caller || ROLES.indexOf(this.caller.role) >= ROLES.indexOf(role));
  }

  text() {
    if (!this.caller) return "";
    const { name, tenant, role } = this.caller;
    return `${name}${tenant ? ` of ${tenant}` : ""} · ${role}${role === "viewer" ? " (read only)" : ""}`;
  }

  // Asks, unless it is known.
  async ask() {
    const asked = token.get();
    if (!asksForToken || !asked || asked === this.of) return;
    this.forget();
    this.of = asked;
    this.dispatchEvent(new Event("known"));
    const found = await once("/whoami").then((answer) => answer.json()).catch(() => null);
    if (this.of !== asked) return;
    this.caller = found && ROLES.includes(found.role) ? found : null;
    if (!this.caller) this.of = null; // the next view asks again
    this.settled = true;
    this.dispatchEvent(new Event("known"));
  }
}

export const who = new Who();
