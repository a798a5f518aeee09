{{/* What the operator's objects are called. */}}
{{- define "palaver.operator" -}}
{{ printf "%s-operator" (.Release.Name | trunc 50 | trimSuffix "-") }}
{{- end }}

{{- define "palaver.serviceAccount" -}}
{{ .Values.operator.serviceAccount.name | default (include "palaver.operator" .) }}
{{- end }}

{{/* What finds the operator's pods; the network policies of workspaces look for the first of them. */}}
{{- define "palaver.selector" -}}
app.kubernetes.io/name: palaver-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The namespaces that the operator looks after, as JSON; the empty name stands for all. */}}
{{- define "palaver.namespaces" -}}
{{- if .Values.operator.clusterWide }}
{{- if .Values.operator.namespaces }}
{{- fail "operator.clusterWide: it looks after all namespaces; leave operator.namespaces empty" }}
{{- end }}
{{- list "" | toJson }}
{{- else }}
{{- .Values.operator.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}
{{- end }}

{{- define "palaver.labels" -}}
{{ include "palaver.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: palaver
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "palaver.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The name of the workspace. */}}
{{- define "palaver.workspace" -}}
{{ .Values.workspace.name | default .Release.Name }}
{{- end }}

{{/* The spec of the workspace as YAML: what was said, and what the chart fills in. */}}
{{- define "palaver.spec" -}}
{{- $spec := deepCopy .Values.workspace.spec -}}
{{- $_ := set $spec "version" ($spec.version | default .Chart.AppVersion) -}}
{{- $_ := set $spec "image" (mergeOverwrite (deepCopy .Values.image) ($spec.image | default dict)) -}}
{{- if and (ne ($spec.size | default "cluster") "single") (not $spec.mongodb) -}}
{{- $_ := set $spec "mongodb" (dict "trial" dict) -}}
{{- end -}}
{{ toYaml $spec }}
{{- end }}
