{{/* What the agent may do; docs/kubernetes.md says of each capability why. */}}
{{- define "portcullis.agentSecurity" -}}
{{- $agent := .Values.agent -}}
readOnlyRootFilesystem: true
{{- if $agent.privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  add:
    {{- $capabilities := ternary (list "SYS_RESOURCE") (list "BPF" "PERFMON") $agent.legacyCapabilities }}
    {{- $capabilities = concat $capabilities (list "NET_ADMIN" "NET_BROADCAST" "SYS_ADMIN" "SYS_PTRACE") $agent.extraCapabilities }}
    {{- toYaml (sortAlpha (uniq $capabilities)) | nindent 4 }}
seccompProfile:
  type: {{ $agent.seccompProfile.type }}
  {{- with $agent.seccompProfile.localhostProfile }}
  localhostProfile: {{ . | quote }}
  {{- end }}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
appArmorProfile:
  type: {{ $agent.appArmorProfile.type }}
  {{- with $agent.appArmorProfile.localhostProfile }}
  localhostProfile: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Exits with 0 where the agent answers, with 3 where it does not. Cheap: `status` would look into every
     namespace of the node. */}}
{{- define "portcullis.agentProbe" -}}
[/usr/local/bin/portcullis, health, --ready]
{{- end }}
