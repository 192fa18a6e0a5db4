// Shows the API of this server with Swagger UI. The document lies beside the page, wherever a proxy
// put both; requests go where the document came from.

const base = new URL(document.currentScript.dataset.base, document.baseURI);

async function start() {
  const answer = await fetch(new URL("openapi.json", base));
  if (!answer.ok) throw new Error(`openapi.json: HTTP ${answer.status}`);
  const spec = await answer.json();
  spec.servers = [{ url: base.href.replace(/\/$/, "") }];
  window.ui = SwaggerUIBundle({
    spec,
    dom_id: "#api",
    deepLinking: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    // Swagger's own server would be sent the document.
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
}

start().catch((error) => {
  document.getElementById("api").textContent = `The page could not be shown. ${error.message}`;
});
