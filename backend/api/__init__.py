"""HTTP: thin routes over the rooms beside this package. Every router is included in `app.build`."""
