"""HTTP: thin routes over the modules beside this package. Every router is included in `app.build`."""
