{{/* Labels of every object; call with (list . "agent"). */}}
{{- define "portcullis.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: portcullis
{{ include "portcullis.selector" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels that tell an agent's pods from a hub's; they never change. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "portcullis.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end -}}
{{- end }}

{{/* Image and program of a container. */}}
{{- define "portcullis.container" -}}
command: [/usr/local/bin/portcullis]
image: {{ include "portcullis.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* What every process of ours is told: where it runs, and what chart put it there. */}}
{{- define "portcullis.env" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: PORTCULLIS_CHART_VERSION
  value: {{ .Chart.Version | quote }}
{{- with .Values.kubernetesApi.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.kubernetesApi.port | quote }}
{{- end }}
{{- end }}

{{- define "portcullis.socket" -}}
{{ .Values.agent.runDir }}/portcullis.sock
{{- end }}

{{/* For everything but the agent: no capability. */}}
{{- define "portcullis.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Whether to use ValidatingAdmissionPolicies: "true" or nothing. */}}
{{- define "portcullis.admission" -}}
{{- $kind := "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- if or (eq .Values.admissionPolicies "always") (and (eq .Values.admissionPolicies "auto") (.Capabilities.APIVersions.Has $kind)) -}}
true
{{- end -}}
{{- end }}

{{/* Directories of the runtimes' sockets, each once: a socket itself is another file after a restart. */}}
{{- define "portcullis.runtimeDirs" -}}
{{- $dirs := list -}}
{{- range default (list "/run/containerd/containerd.sock" "/run/crio/crio.sock") .Values.agent.runtimeSockets -}}
{{- $dirs = append $dirs (dir .) -}}
{{- end -}}
{{- $dirs | uniq | toJson -}}
{{- end }}

{{/* Contradictions that the schema cannot express. */}}
{{- define "portcullis.validate" -}}
{{- if and .Values.cni.enabled .Values.cni.remove -}}
{{- fail "cni.enabled and cni.remove contradict each other: set cni.enabled=false to take the plugin out" -}}
{{- end -}}
{{- if and .Values.cni.file .Values.cni.network -}}
{{- fail "cni.file and cni.network both name a configuration: give one of them" -}}
{{- end -}}
{{- $seccomp := .Values.agent.seccompProfile -}}
{{- if ne (eq $seccomp.type "Localhost") (ne $seccomp.localhostProfile "") -}}
{{- fail "agent.seccompProfile.localhostProfile belongs to type Localhost, and Localhost needs it" -}}
{{- end -}}
{{- $appArmor := .Values.agent.appArmorProfile -}}
{{- if ne (eq $appArmor.type "Localhost") (ne $appArmor.localhostProfile "") -}}
{{- fail "agent.appArmorProfile.localhostProfile belongs to type Localhost, and Localhost needs it" -}}
{{- end -}}
{{- range .Values.agent.extraCapabilities -}}
{{- if hasPrefix "CAP_" . -}}
{{- fail (printf "agent.extraCapabilities: write %s, not %s" (trimPrefix "CAP_" .) .) -}}
{{- end -}}
{{- end -}}
{{- range $labels := list .Values.commonLabels .Values.agent.podLabels .Values.hub.podLabels -}}
{{- range $key, $_ := $labels -}}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "helm.sh/" $key) -}}
{{- fail (printf "the label %s is the chart's own: choose another" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.defaultPolicy.enabled (not .Values.defaultPolicy.spec) -}}
{{- fail "defaultPolicy.enabled wants a policy: say what it is in defaultPolicy.spec" -}}
{{- end -}}
{{- if eq (int .Values.hub.apiPort) (int .Values.hub.metricsPort) -}}
{{- fail "hub.apiPort and hub.metricsPort are the same: give each its own" -}}
{{- end -}}
{{- end }}
