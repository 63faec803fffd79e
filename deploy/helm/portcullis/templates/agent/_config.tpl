{{/* The agents' portcullis.toml. (JSON's strings and lists are TOML's.) */}}
{{- define "portcullis.config" -}}
{{- $config := .Values.agent.config -}}
{{- $kubernetes := $config.kubernetes -}}
{{- $address := $kubernetes.peerAddress -}}
{{- if contains ":" $address }}{{ $address = printf "[%s]" $address }}{{ end -}}
socket = {{ include "portcullis.socket" . | toJson }}
state_dir = {{ .Values.agent.stateDir | toJson }}
unbound = {{ $config.unbound | toJson }}

[kubernetes]
enabled = true
peer_listen = {{ printf "%s:%d" $address (int $kubernetes.peerPort) | toJson }}
publish_interval = {{ $kubernetes.publishInterval | toJson }}
unknown = {{ $kubernetes.unknown | toJson }}
trusted = {{ $kubernetes.trusted | toJson }}

[answer]
attempts = {{ int $config.answer.attempts }}
window = {{ $config.answer.window | toJson }}
dry_run = {{ $config.answer.dryRun }}
{{- range .Values.agent.runtimeSockets }}

[[source]]
kind = "cri"
socket = {{ . | toJson }}
{{- end }}
{{- with $config.extra }}

{{ . | trim }}
{{- end }}
{{- end }}
