# Compute nodes reach the outside by this proxy only. hpcharvest needs nothing from there; payloads may.
export http_proxy="${http_proxy:-http://proxy.alcf.anl.gov:3128}"
export https_proxy="${https_proxy:-$http_proxy}"
export ftp_proxy="${ftp_proxy:-$http_proxy}"
export no_proxy="${no_proxy:-localhost,127.0.0.0/8,.alcf.anl.gov}"
