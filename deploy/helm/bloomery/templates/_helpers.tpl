{{/* Labels of every object; the argument is (dict "root" $ "component" NAME). */}}
{{- define "bloomery.labels" -}}
{{ include "bloomery.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels that tell a component's pods. */}}
{{- define "bloomery.selector" -}}
app.kubernetes.io/name: bloomery
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "bloomery.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "bloomery.labels" . | nindent 2 }}
{{- end }}

{{/* What every pod begins with; `user` is its numeric user. */}}
{{- define "bloomery.pod" -}}
automountServiceAccountToken: {{ .account | default false }}
{{- if .account }}
serviceAccountName: {{ .root.Release.Name }}-{{ .component }}
{{- end }}
# Variables that tell where Services are would be taken for settings: their names begin alike.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The replicas of a component on as many nodes as there are. */}}
{{- define "bloomery.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "bloomery.selector" . | nindent 8 }}
{{- end }}

{{- define "bloomery.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "bloomery.credentials" -}}
{{ .Values.credentials.existingSecret | default (printf "%s-credentials" .Release.Name) }}
{{- end }}

{{- define "bloomery.certificate" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" .Release.Name) }}
{{- end }}

{{- define "bloomery.storeCredentials" -}}
{{- if eq .Values.objectStore.mode "external" -}}
{{ .Values.objectStore.existingSecret }}
{{- else -}}
{{ include "bloomery.credentials" . }}
{{- end }}
{{- end }}

{{/* Host of publicEndpoint, without its port. */}}
{{- define "bloomery.host" -}}
{{ regexReplaceAll ":[0-9]+$" (trimPrefix "https://" .Values.publicEndpoint) "" }}
{{- end }}

{{/* One variable out of a Secret. */}}
{{- define "bloomery.secretVariable" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}

{{/* Settings of every service. */}}
{{- define "bloomery.settings" -}}
{{- $credentials := include "bloomery.credentials" . -}}
{{- $store := include "bloomery.storeCredentials" . -}}
{{ include "bloomery.secretVariable" (dict "name" "BLOOMERY_TOKEN" "secret" $credentials "key" "token") }}
{{- if eq .Values.database.mode "external" }}
{{ include "bloomery.secretVariable" (dict "name" "BLOOMERY_DATABASE_URL" "secret" .Values.database.existingSecret "key" "url") }}
{{- else }}
{{ include "bloomery.secretVariable" (dict "name" "DATABASE_PASSWORD" "secret" $credentials "key" "database-password") }}
- {name: BLOOMERY_DATABASE_URL, value: "postgresql+asyncpg://bloomery:$(DATABASE_PASSWORD)@{{ .Release.Name }}-postgres:5432/bloomery"}
{{- end }}
- {name: BLOOMERY_OBJECT_STORE__KIND, value: s3}
- {name: BLOOMERY_OBJECT_STORE__BUCKET, value: {{ .Values.objectStore.bucket | quote }}}
- {name: BLOOMERY_OBJECT_STORE__REGION, value: {{ .Values.objectStore.region | quote }}}
{{- if eq .Values.objectStore.mode "external" }}
- {name: BLOOMERY_OBJECT_STORE__ENDPOINT, value: {{ .Values.objectStore.endpoint | quote }}}
- {name: BLOOMERY_OBJECT_STORE__PUBLIC_ENDPOINT, value: {{ .Values.objectStore.publicEndpoint | quote }}}
{{- else }}
- {name: BLOOMERY_OBJECT_STORE__ENDPOINT, value: "http://{{ .Release.Name }}-minio:9000"}
- {name: BLOOMERY_OBJECT_STORE__PUBLIC_ENDPOINT, value: {{ .Values.publicEndpoint | quote }}}
{{- end }}
{{ include "bloomery.secretVariable" (dict "name" "BLOOMERY_OBJECT_STORE__ACCESS_KEY" "secret" $store "key" "object-store-access-key") }}
{{ include "bloomery.secretVariable" (dict "name" "BLOOMERY_OBJECT_STORE__SECRET_KEY" "secret" $store "key" "object-store-secret-key") }}
- {name: BLOOMERY_PORT, value: "50051"}
- {name: BLOOMERY_HEALTH_PORT, value: "50050"}
- {name: BLOOMERY_METRICS_PORT, value: "9090"}
{{- end }}

{{/*
One of the services: its Deployment, a Service for the proxy, and one for its neighbours, whose clients spread calls over the pods themselves.
Arguments: root, component, health (the name that its readiness goes by), environment (a list of variables); ports, account (whether it asks the cluster)
and recipes (a ConfigMap) may be left out.
*/}}
{{- define "bloomery.service" -}}
{{- $values := index .root.Values.services .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  replicas: {{ $values.replicas }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels: {{- include "bloomery.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "bloomery.labels" . | nindent 8 }}
      annotations: {{- include "bloomery.scraped" 9090 | nindent 8 }}
    spec:
      {{- include "bloomery.pod" . | nindent 6 }}
      {{- include "bloomery.spread" . | nindent 6 }}
      terminationGracePeriodSeconds: 60
      {{- if eq .root.Values.database.mode "embedded" }}
      initContainers:
        # The first start of all takes longer than a service tries to reach its database.
        - name: database
          image: {{ .root.Values.images.control | quote }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          command: [sh, -c, "until python -P -c 'import socket, sys; socket.create_connection((sys.argv[1], 5432), 2)' $0 2>/dev/null; do sleep 1; done", {{ .root.Release.Name }}-postgres]
          {{- include "bloomery.confined" . | nindent 10 }}
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ .root.Values.images.control | quote }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          command: [python, -P, -m, bloomery_{{ .component }}]
          {{- include "bloomery.confined" . | nindent 10 }}
          env:
            {{- include "bloomery.settings" .root | nindent 12 }}
            {{- with .environment }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- range $name, $value := $values.environment }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: grpc, containerPort: 50051}
            - {name: health, containerPort: 50050}
            - {name: metrics, containerPort: 9090}
            {{- range .ports }}
            - {{ toJson . }}
            {{- end }}
          # The schema is migrated before the first answer.
          startupProbe:
            grpc: {port: 50050}
            periodSeconds: 2
            failureThreshold: 150
          livenessProbe:
            grpc: {port: 50050}
            periodSeconds: 15
            timeoutSeconds: 10
          readinessProbe:
            grpc: {port: 50050, service: {{ .health }}}
            periodSeconds: 5
            timeoutSeconds: 5
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
            {{- if .recipes }}
            - {name: recipes, mountPath: /etc/bloomery/recipes, readOnly: true}
            {{- end }}
      volumes:
        - name: scratch
          emptyDir: {}
        {{- with .recipes }}
        - name: recipes
          configMap: {name: {{ . }}}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  selector: {{- include "bloomery.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: kubernetes.io/h2c}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .root.Release.Name }}-{{ .component }}-pods
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "bloomery.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "bloomery.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc}
    {{- range .ports }}
    - {name: {{ .name }}, port: {{ .containerPort }}, targetPort: {{ .name }}}
    {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "bloomery.selector" . | nindent 6 }}
{{- end }}

{{/* How a Prometheus that goes by annotations finds the metrics of a pod; the argument is their port. */}}
{{- define "bloomery.scraped" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ . | quote }}
{{- end }}

{{/* Where one service finds another. */}}
{{- define "bloomery.target" -}}
dns:///{{ .root.Release.Name }}-{{ .component }}-pods:50051
{{- end }}

{{/* The volume of a StatefulSet that outlives its pod; the argument is its `storage`. */}}
{{- define "bloomery.claim" -}}
{{- if not .ephemeral -}}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .className }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ .size }}}
{{- end }}
{{- end }}

{{/* The volume in its place where nothing is to be kept. */}}
{{- define "bloomery.kept" -}}
{{- if .ephemeral -}}
- name: data
  emptyDir: {sizeLimit: {{ .size }}}
{{- end }}
{{- end }}

{{/* The Service of a part that the release brings; arguments: this, name, port. */}}
{{- define "bloomery.ownService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "bloomery.metadata" .this | nindent 2 }}
spec:
  selector: {{- include "bloomery.selector" .this | nindent 4 }}
  ports:
    - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}}
{{- end }}

{{/* The ConfigMap with the authority whose certificate signed URLs lead to; empty where it is one that everybody trusts. */}}
{{- define "bloomery.authority" -}}
{{- if .Values.tls.authorityConfigMap -}}
{{ .Values.tls.authorityConfigMap }}
{{- else if and (not .Values.tls.existingSecret) (eq .Values.objectStore.mode "embedded") -}}
{{ .Release.Name }}-authority
{{- end }}
{{- end }}

{{- define "bloomery.trust" -}}
{{- if include "bloomery.authority" . -}}
- {name: SSL_CERT_FILE, value: /etc/bloomery/authority/ca.crt}
{{- end }}
{{- end }}

{{- define "bloomery.trustMount" -}}
{{- if include "bloomery.authority" . -}}
- {name: authority, mountPath: /etc/bloomery/authority, readOnly: true}
{{- end }}
{{- end }}

{{- define "bloomery.trustVolume" -}}
{{- with include "bloomery.authority" . -}}
- name: authority
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}
