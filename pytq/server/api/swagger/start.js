// Starts Swagger UI on this server's own description; nothing is asked of any other host.
pytqDoor.ready.finally(() => {
  const page = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    displayRequestDuration: true,
    filter: true,
    validatorUrl: null,
    onComplete: () => {
      if (pytqDoor.token()) page.preauthorizeApiKey("token", pytqDoor.token());
    },
  });
});
