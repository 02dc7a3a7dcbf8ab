// A payer's own session: live cost, the stop button, the proof. The access token stays behind the # of the address: no server and no log sees it there.
"use strict";
(() => {
  const place = document.getElementById("pay");
  const session = place.dataset.session;
  const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
  const at = (id) => document.getElementById(id);
  const STOP_VALID_S = 600;
  let typed = null;

  const call = async (path, options = {}) => {
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json", "Content-Type": "application/json" };
    const answer = await fetch(`/api/v1${path}`, { ...options, headers });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    return answer;
  };
  // Exactly, without a float: micro-units and milliwatt-hours are integers of 10^-6.
  const decimal = (units, least) => {
    const text = String(units).padStart(7, "0");
    return `${text.slice(0, -6)}.${text.slice(-6).replace(/0+$/, "").padEnd(least, "0")}`;
  };

  const requestToClose = (service) => ({
    types: {
      EIP712Domain: [{ name: "name", type: "string" }, { name: "version", type: "string" }, { name: "chainId", type: "uint256" }, { name: "verifyingContract", type: "address" }],
      RequestClose: [{ name: "session", type: "bytes32" }, { name: "deadlineS", type: "uint64" }],
    },
    primaryType: "RequestClose",
    domain: { name: "Wattproof Money", version: "1", chainId: service.chainId, verifyingContract: service.escrow },
    message: { session, deadlineS: Math.floor(Date.now() / 1000) + STOP_VALID_S },
  });
  const send = async (signature) => {
    show(await (await call(`/sessions/${session}/stop`, { method: "POST", body: JSON.stringify({ deadlineS: typed.message.deadlineS, signature }) })).json());
    at("pay-words").textContent = "Stopped: supply is being disconnected.";
  };
  const show = (view) => {
    at("pay-body").hidden = false;
    at("pay-words").textContent = "";
    at("pay-used").textContent = decimal(view.billMicro, 2);
    at("pay-lock").textContent = decimal(view.lockMicro || view.wantedLockMicro, 2);
    at("pay-state").textContent = view.state;
    at("pay-waiting").textContent = view.waitingFor ? `waiting for ${view.waitingFor}` : "";
    at("pay-energy").textContent = `${decimal(view.energyMilliwattHours, 3)} kWh`;
    at("pay-returned").textContent = decimal(view.returnedMicro, 2);
    at("pay-cause").textContent = view.endCause === "NONE" ? "not yet" : view.endCause.toLowerCase().replaceAll("_", " ");
    at("pay-stop").hidden = !["open", "running"].includes(view.state);
  };
  const refresh = async () => {
    try {
      show(await (await call(`/sessions/${session}`)).json());
    } catch (problem) {
      at("pay-words").textContent = `The session cannot be shown: ${problem.message}`;
    }
  };
  const failed = (problem) => { at("pay-words").textContent = `Not stopped: ${problem.message}`; };

  at("pay-stop-button").addEventListener("click", async () => {
    try {
      typed = requestToClose(await (await call("/service")).json());
      if (!window.ethereum) { at("pay-typed").textContent = JSON.stringify(typed, null, 1); at("pay-by-hand").open = true; return; }
      const [account] = await window.ethereum.request({ method: "eth_requestAccounts" });
      await send(await window.ethereum.request({ method: "eth_signTypedData_v4", params: [account, JSON.stringify(typed)] }));
    } catch (problem) { failed(problem); }
  });
  at("pay-send").addEventListener("click", () => {
    if (typed) send(at("pay-signature").value.toLowerCase()).catch(failed); else failed(new Error("press Stop first, and sign the document it shows"));
  });
  at("pay-bundle").addEventListener("click", async () => {
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await (await call(`/sessions/${session}/bundle`)).blob());
      link.download = `wattproof-${session.slice(2, 18)}.bundle.gz`;
      link.click();
    } catch (problem) { at("pay-words").textContent = `No bundle: ${problem.message}`; }
  });
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, 2000);
})();
