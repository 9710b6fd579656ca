"""Alert rules, Alertmanager routes, dashboards, panels and the runtime's own detector, all from one catalogue."""
