"""The panels of `service.panels` on one page, for who has a Prometheus and no Grafana."""
