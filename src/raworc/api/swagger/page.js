// One page for every contract that is served: the list comes from the server.
fetch("contracts.json")
  .then((answer) => answer.json())
  .then((urls) => {
    SwaggerUIBundle({
      urls,
      dom_id: "#swagger-ui",
      deepLinking: true,
      validatorUrl: null, // nothing is asked of anybody else
      presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
      layout: "StandaloneLayout",
    });
  });
