"""What is worth looking at, as plain data: the source of Grafana's dashboards, of `mull report` and of their proof."""
