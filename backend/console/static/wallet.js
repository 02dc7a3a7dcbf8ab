// Log-in with a browser wallet (EIP-1193): the service writes the text, the wallet signs it, the service compares what it wrote.
"use strict";
(() => {
  const place = document.getElementById("wallet");
  if (!place || !window.ethereum) return;
  place.hidden = false;
  const words = document.getElementById("wallet-words");
  const post = async (path, body) => {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const document_ = await answer.json();
    if (!answer.ok) throw new Error(document_.detail || "the service refused");
    return document_;
  };
  document.getElementById("wallet-log-in").addEventListener("click", async () => {
    try {
      const [wallet] = await window.ethereum.request({ method: "eth_requestAccounts" });
      const { nonce, text } = await post("/console/log-in/wallet/text", { wallet });
      const signature = await window.ethereum.request({ method: "personal_sign", params: [text, wallet] });
      await post("/console/log-in/wallet", { nonce, text, signature });
      window.location.assign("/console/");
    } catch (problem) {
      words.textContent = `Not logged in: ${problem.message}`;
    }
  });
})();
