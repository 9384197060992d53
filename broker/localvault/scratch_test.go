package localvault
import ("testing";"os";"math/rand/v2";"path/filepath";"fmt";"strings";"runtime/debug")
func TestScratch(t *testing.T){
	v:=openFilled(t); rows:=sorted(records(t,v)); before:=snapshot(t,v,rows)
	path:=v.db.Path(); v.db.Sync(); v.Close()
	key:=filepath.Join(filepath.Dir(path),"vault.key")
	orig,_:=os.ReadFile(path)
	panics:=map[string]int{}
	fails,wrong,same:=0,0,0
	for n:=range 400 {
		b:=append([]byte{},orig...)
		i:=rand.IntN(len(b)); 
		if n%2==0 { i = i/4096*4096 + rand.IntN(64) }
		b[i]^=byte(1<<rand.IntN(8))
		os.WriteFile(path,b,0600)
		func(){
			defer func(){ if p:=recover();p!=nil{ 
				st:=string(debug.Stack()); k:="?"; for _,l:=range strings.Split(st,"\n"){ if strings.HasPrefix(l,"go.etcd.io/bbolt"){k=l;break}}
				panics[fmt.Sprint(p)[:min(len(fmt.Sprint(p)),50)]+" "+k[:min(60,len(k))]]++ } }()
			v,err:=Open(Config{Path:path,KeyFile:key}); if err!=nil{fails++;return}
			defer v.Close()
			after:=snapshot(t,v,rows)
			diff:=false
			for q,a:=range after{ if a!="" && before[q]!=a {wrong++; t.Log("wrong",i,q)}; }
			for q,a:=range before{ if after[q]!=a {diff=true}}
			if !diff{same++}
		}()
	}
	t.Log("openfails",fails,"wrong",wrong,"same",same)
	for k,c:=range panics{t.Log(c,k)}
}
