"""OpenTelemetry's spans of a request, from the gateway to the engines. Nothing of it is loaded while it is off."""
