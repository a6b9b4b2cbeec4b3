{{/* What the schema cannot say in words: everything that is missing, and what to write. */}}
{{- define "bloomery.check" -}}
{{- $problems := list -}}
{{- if not .Values.publicEndpoint -}}
{{- $problems = append $problems "publicEndpoint is missing: say where clients reach the installation, such as publicEndpoint=https://bloomery.example.com" -}}
{{- end -}}
{{- if and (eq .Values.database.mode "external") (not .Values.database.existingSecret) -}}
{{- $problems = append $problems "database.existingSecret is missing: name a Secret whose `url` is postgresql+asyncpg://USER:PASSWORD@HOST:5432/DATABASE" -}}
{{- end -}}
{{- if eq .Values.objectStore.mode "external" -}}
{{- if not .Values.objectStore.endpoint -}}
{{- $problems = append $problems "objectStore.endpoint is missing: say where the services reach the store, such as objectStore.endpoint=https://s3.example.com" -}}
{{- end -}}
{{- if not .Values.objectStore.publicEndpoint -}}
{{- $problems = append $problems "objectStore.publicEndpoint is missing: say where clients reach the store; signed URLs name it" -}}
{{- end -}}
{{- if not .Values.objectStore.existingSecret -}}
{{- $problems = append $problems "objectStore.existingSecret is missing: name a Secret with `object-store-access-key` and `object-store-secret-key`" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.authorityConfigMap) -}}
{{- $problems = append $problems "tls.certManager.authorityConfigMap is missing: name a ConfigMap whose `ca.crt` is the issuer's authority, also in the namespace of the workers, as trust-manager makes it" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- $problems = append $problems "gateway.parentRefs is missing: say which Gateway takes the routes, such as [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- if and .Values.access.oidc.issuer (not .Values.access.oidc.audience) -}}
{{- $problems = append $problems "access.oidc.audience is missing: say what the issuer's tokens must be made for" -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n- %s" (join "\n- " $problems)) -}}
{{- end -}}
{{- end }}
