(* Theorems of propositional logic and of simple logic with quantifiers. *)

(* task: Every proposition implies itself.
   wrong: intros P.
   pass_rate: 0
   difficulty: hard *)
Theorem implies_itself : forall P : Prop, P -> P.
Proof.
  intros P H.
  exact H.
Qed.

(* task: From a proposition and an implication, its conclusion follows.
   wrong: intros P Q H1 H2. exact H1.
   pass_rate: 0
   difficulty: hard *)
Theorem modus_ponens : forall P Q : Prop, P -> (P -> Q) -> Q.
Proof.
  intros P Q H1 H2.
  apply H2.
  exact H1.
Qed.

(* task: Implication is transitive.
   wrong: intros P Q R H1 H2. apply H2. apply H1.
   pass_rate: 0
   difficulty: hard *)
Theorem implication_transitive : forall P Q R : Prop, (P -> Q) -> (Q -> R) -> P -> R.
Proof.
  intros P Q R H1 H2 H3.
  apply H2.
  apply H1.
  exact H3.
Qed.

(* task: A conjunction implies its left side.
   wrong: intros P Q H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem and_left : forall P Q : Prop, P /\ Q -> P.
Proof.
  intros P Q H.
  destruct H as [HP HQ].
  exact HP.
Qed.

(* task: Two propositions together imply their conjunction.
   wrong: intros P Q H1 H2. split. exact H1.
   pass_rate: 0
   difficulty: hard *)
Theorem and_intro : forall P Q : Prop, P -> Q -> P /\ Q.
Proof.
  intros P Q HP HQ.
  split.
  - exact HP.
  - exact HQ.
Qed.

(* task: The sides of a conjunction can be exchanged.
   wrong: intros P Q H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem and_commutes : forall P Q : Prop, P /\ Q -> Q /\ P.
Proof.
  intros P Q H.
  destruct H as [HP HQ].
  split.
  - exact HQ.
  - exact HP.
Qed.

(* task: A proposition implies each disjunction that has it on the left.
   wrong: intros P Q H. right. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem or_left : forall P Q : Prop, P -> P \/ Q.
Proof.
  intros P Q H.
  left.
  exact H.
Qed.

(* task: The sides of a disjunction can be exchanged.
   wrong: intros P Q H. destruct H. right. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem or_commutes : forall P Q : Prop, P \/ Q -> Q \/ P.
Proof.
  intros P Q H.
  destruct H as [HP | HQ].
  - right. exact HP.
  - left. exact HQ.
Qed.

(* task: A disjunction whose sides imply the same proposition implies it.
   wrong: intros P Q R H1 H2 H3. apply H1.
   pass_rate: 0
   difficulty: hard *)
Theorem or_elimination : forall P Q R : Prop, (P -> R) -> (Q -> R) -> P \/ Q -> R.
Proof.
  intros P Q R H1 H2 H3.
  destruct H3 as [HP | HQ].
  - apply H1. exact HP.
  - apply H2. exact HQ.
Qed.

(* task: Anything follows from a falsehood.
   wrong: intros P H. exact H.
   pass_rate: 0.25
   difficulty: medium *)
Theorem from_false : forall P : Prop, False -> P.
Proof.
  intros P H.
  destruct H.
Qed.

(* task: The proposition True holds.
   wrong: reflexivity. exact I.
   pass_rate: 0.875
   difficulty: easy *)
Theorem true_holds : True.
Proof.
  exact I.
Qed.

(* task: A proposition implies that it is not refuted.
   wrong: intros P H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem double_negation : forall P : Prop, P -> ~ ~ P.
Proof.
  intros P H1 H2.
  apply H2.
  exact H1.
Qed.

(* task: An implication can be turned around if both sides are negated.
   wrong: intros P Q H1 H2. exact H2.
   pass_rate: 0
   difficulty: hard *)
Theorem contraposition : forall P Q : Prop, (P -> Q) -> (~ Q -> ~ P).
Proof.
  intros P Q H1 H2 H3.
  apply H2.
  apply H1.
  exact H3.
Qed.

(* task: A proposition and its negation cannot both hold.
   wrong: intros P. split.
   pass_rate: 0
   difficulty: hard *)
Theorem no_contradiction : forall P : Prop, ~ (P /\ ~ P).
Proof.
  intros P H.
  destruct H as [H1 H2].
  apply H2.
  exact H1.
Qed.

(* task: Conjunction distributes over disjunction.
   wrong: intros P Q R H. left. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem and_over_or : forall P Q R : Prop, P /\ (Q \/ R) -> (P /\ Q) \/ (P /\ R).
Proof.
  intros P Q R H.
  destruct H as [HP [HQ | HR]].
  - left. split; assumption.
  - right. split; assumption.
Qed.

(* task: A proposition is equivalent to itself.
   wrong: intros P. split.
   pass_rate: 0
   difficulty: hard *)
Theorem iff_itself : forall P : Prop, P <-> P.
Proof.
  intros P.
  split; intros H; exact H.
Qed.

(* task: What holds for all holds for one.
   wrong: intros A P H x. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem all_to_one : forall (A : Type) (P : A -> Prop), (forall x, P x) -> forall y, P y.
Proof.
  intros A P H y.
  apply H.
Qed.

(* task: What holds for one holds for some.
   wrong: intros A P x H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem one_to_some : forall (A : Type) (P : A -> Prop) (x : A), P x -> exists y, P y.
Proof.
  intros A P x H.
  exists x.
  exact H.
Qed.

(* task: If nothing has a property, then everything lacks it.
   wrong: intros A P H x. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem not_some_is_all_not : forall (A : Type) (P : A -> Prop), ~ (exists x, P x) -> forall x, ~ P x.
Proof.
  intros A P H x HP.
  apply H.
  exists x.
  exact HP.
Qed.

(* task: If something has two properties, then something has the first one.
   wrong: intros A P Q H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem some_with_both : forall (A : Type) (P Q : A -> Prop), (exists x, P x /\ Q x) -> exists x, P x.
Proof.
  intros A P Q H.
  destruct H as [x [HP HQ]].
  exists x.
  exact HP.
Qed.
